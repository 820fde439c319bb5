"""Measures how long a partition has had unread records without a commit.

A member may hold a partition and never commit: it hangs, is a foreign process, or waits for a
dependency. Only repeated observations (monitor.py) show that; a single `dia status` has no history.
"""

from __future__ import annotations

from typing import NamedTuple

from streams.core.types import TopicPartition
from streams.engine.health.observation import Observation, Stalls


class _Standing(NamedTuple):
    committed: int | None
    since_ms: int


class CommitHistory:
    """Takes every observation, oldest first. Unknown values count neither as moving nor as
    stalled."""

    def __init__(self) -> None:
        self._standing: dict[tuple[str, TopicPartition], _Standing] = {}

    def stalls(self, observed: Observation) -> Stalls:
        """Seconds by group and partition; 0 if the offset moved or nothing is unread."""
        found: dict[tuple[str, TopicPartition], float] = {}
        known: dict[tuple[str, TopicPartition], _Standing] = {}
        for source in observed.sources:
            for partition in source.logs or ():
                place = (source.source.group, TopicPartition(source.source.topic, partition))
                before, lag = self._standing.get(place), source.lag(partition)
                if lag is None:
                    if before is not None:
                        known[place] = before
                    continue
                committed = (source.committed or {}).get(partition)
                if not lag or before is None or before.committed != committed:
                    before = _Standing(committed, observed.at_ms)
                known[place] = before
                found[place] = max(0, observed.at_ms - before.since_ms) / 1000
        self._standing = known
        return found
