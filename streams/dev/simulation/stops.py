"""A partition may stop only for what is wrong: no changelog loses anything in the course of a history.

Such a stop needs an operator, although the next rebalance would hide it: at the end of a history the
partition may be open again, with nothing lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from streams.dev.simulation.difference import Difference
from streams.dev.simulation.quiet import held
from streams.dev.simulation.world import Process

CHANGELOG_STOPS: Final = frozenset({"changelog_lost", "changelog_gap"})


def check_stops(processes: Sequence[Process]) -> None:
    """Raises `Difference` where a partition is stopped because it misses a part of a changelog
    that is whole."""
    for partition in held(processes):
        error = partition.stopped_by
        if error is not None and error.code in CHANGELOG_STOPS:
            raise Difference(f"{partition.tp} stopped, and its changelog is whole: {error}")
