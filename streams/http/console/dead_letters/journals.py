"""The journals of replay decisions, cached briefly for all readers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from streams.connect.cache.cached_value import CachedValue
from streams.core.clock import Clock
from streams.core.topics.topic import Topic
from streams.core.topics.topology import Topology
from streams.http.console.logs import Logs
from streams.operate.replay.journal.control import journals_in
from streams.operate.replay.journal.status import PartitionStatus

FRESH_S: Final = 0.5
"""for the progress of a plan"""
LISTED_FRESH_S: Final = 5.0
"""For lists. The cache keeps the newer read, so a list has what a plan's progress has shown."""

Standings: TypeAlias = Mapping[Topic, Sequence[PartitionStatus]]
Journals: TypeAlias = CachedValue[Standings]
"""Raises as `streams.operate.replay.journal.control.journals`."""


def recent_journals(topology: Topology, logs: Logs, clock: Clock) -> Journals:
    async def read() -> Standings:
        topics = await logs.topics()
        async with logs.reader() as reader:
            return await journals_in(reader, topics, topology.topics)

    return CachedValue(read, FRESH_S, clock)


def entries_of(found: Standings) -> int:
    """The number of entries, which only grows: it identifies a read."""
    return sum(standing.seq for standings in found.values() for standing in standings)
