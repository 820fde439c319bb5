"""Movers, and engines beside them, that lose or double rows (docs/protocols/shard_moves.md)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from streams.connect.sinks.map_record import DayState
from streams.connect.sinks.moves.store import Portion
from streams.dev.simulation.operators import moves
from streams.dev.simulation.variant import Variant, replaced
from streams.engine.state.placements import Placements
from streams.operate.shards.mover import Mover

_portions = Mover._portions
_copy = Mover._copy
_sampled = Mover._sampled


async def _not_awaited(*arguments: Any) -> bool:
    """M4 is left out: partitions still place windows of the day by older maps."""
    del arguments
    return True


def _no_mark(self: Placements, minutes: Any) -> None:
    """Rows do not say which move placed their windows."""
    del self, minutes


def _none_over(self: Placements, minutes: Any, inc: Any) -> Any:
    """Evicted incarnations that a restore finds again are sent to where the move places them."""
    del self, inc
    return np.zeros(len(minutes), np.bool_)


def _one_skipped(self: Mover, day: int) -> Iterator[tuple[Portion, int]]:
    return iter([*_portions(self, day)][1:])


def _shown_first(self: Mover, day: int) -> None:
    """Readers take copies that are not made yet."""
    self._store.enter(day, DayState.SHOWN)
    _copy(self, day)


def _deleted_first(self: Mover, day: int) -> bool:
    """Originals go while readers still take them."""
    self._store.delete_originals(day)
    return _sampled(self, day)


def _not_sampled(self: Mover, day: int) -> bool:
    del self, day
    return True


VARIANTS: Mapping[str, Variant] = {
    "move_not_awaited": replaced(moves, all_took=_not_awaited),
    "rows_without_their_move": replaced(Placements, marks=_no_mark),
    "evicted_incarnations_brought_back": replaced(Placements, over=_none_over),
    "portion_skipped": replaced(Mover, _portions=_one_skipped, _sampled=_not_sampled),
    "day_shown_before_its_copies": replaced(Mover, _copy=_shown_first),
    "originals_deleted_before_the_day_is_shown": replaced(Mover, _sampled=_deleted_first),
}
