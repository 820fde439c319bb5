"""Rebuilds that lose or double rows (docs/protocols/rebuild.md)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streams.dev.simulation.variant import Variant, replaced
from streams.engine.identities.seen_events import SeenEvents
from streams.operate.rebuild import refold, replacement
from streams.operate.rebuild.rebuild import _Rebuild
from streams.operate.rebuild.refold import EpochLog
from streams.operate.rebuild.standing import PartitionStanding

_partition = _Rebuild._partition
_roll_up = _Rebuild._roll_up


class _Forgetful(SeenEvents):
    """Ids are not read back: each record counts, and the ledger is not compared."""

    def __init__(self, ttl_ms: int, *arguments: Any) -> None:
        del ttl_ms
        super().__init__(-1, *arguments)


def _not_compared(log: EpochLog, counts: Counter[str]) -> None:
    del log, counts


def _nothing_live(self: PartitionStanding) -> NDArray[np.uint64]:
    """Rows that owners send again themselves are rebuilt, too."""
    del self
    return np.zeros(0, np.uint64)


def _first_version(generation: int, version: int) -> int:
    """A rebuilt row has the version of its records."""
    del generation
    return version


async def _recomputed_first(self: _Rebuild, *arguments: Any) -> None:
    """Hours and days are recomputed before the shards have acknowledged their minutes."""
    await _roll_up(self)
    await _partition(self, *arguments)


async def _not_recomputed(self: _Rebuild) -> None:
    del self


VARIANTS: Mapping[str, Variant] = {
    "ids_not_read_back": replaced(refold, SeenEvents=_Forgetful, _compare=_not_compared),
    "live_incarnations_rebuilt": replaced(
        PartitionStanding, live_incarnations=property(_nothing_live)
    ),
    "rebuilt_rows_without_a_generation": replaced(replacement, rebuilt_version=_first_version),
    "hours_recomputed_before_their_minutes": replaced(
        _Rebuild, _partition=_recomputed_first, _roll_up=_not_recomputed
    ),
}
