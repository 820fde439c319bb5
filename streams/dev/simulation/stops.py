"""Checks that partitions stop only for a reason: no changelog loses records during a run. The next
rebalance hides such a stop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from streams.dev.simulation.difference import Difference
from streams.dev.simulation.quiet import held
from streams.dev.simulation.world import Process

CHANGELOG_STOPS: Final = frozenset({"changelog_lost", "changelog_gap"})


def check_stops(processes: Sequence[Process]) -> None:
    """Raises `Difference` where a partition is stopped for a missing part of a complete
    changelog."""
    for partition in held(processes):
        error = partition.stopped_by
        if error is not None and error.code in CHANGELOG_STOPS:
            raise Difference(f"{partition.tp} stopped, and its changelog is whole: {error}")
