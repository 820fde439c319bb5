"""Reads decisions on dead letters without taking a partition over."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from streams.connect.broker.log_range import behind, read_some
from streams.core.errors import BatchUnreadable
from streams.core.topics.topic import Topic
from streams.core.topics.topology import Topology
from streams.core.types import LogReader, TopicPartition
from streams.operate.dlq.dead_letter import DeadLetterRecord
from streams.operate.replay.journal.dispositions import ReplayDisposition
from streams.operate.replay.journal.journal import Disposed, Entry, QueueReplaced, entries
from streams.operate.replay.journal.ranges import OffsetSet
from streams.operate.replay.journal.status import PartitionStatus

_READ_RECORDS = 500


class Decided:
    """The last decision on each dead letter of some DLQs."""

    def __init__(self, journals: Mapping[Topic, Sequence[PartitionStatus]]) -> None:
        self._known = {
            TopicPartition(source.dlq, number): standing.dispositions
            for source, standings in journals.items()
            for number, standing in enumerate(standings)
        }

    def of(self, letter: DeadLetterRecord) -> ReplayDisposition:
        """OPEN also without a journal."""
        known = self._known.get(letter.dlq)
        return ReplayDisposition.OPEN if known is None else known.of(letter.offset)


class Decision(NamedTuple):
    """``plan`` is "" for a manual decision."""

    disposition: ReplayDisposition
    at_ms: int
    actor: str
    plan: str
    reason: str


async def history(
    reader: LogReader, topology: Topology, letter: DeadLetterRecord
) -> list[Decision]:
    """Every readable decision on a dead letter, oldest first. Raises `UnknownTopic`, and as
    `entries`."""
    source = topology.by_dlq.get(letter.dlq.topic)
    if source is None:
        return []
    journal = TopicPartition(source.journal, letter.dlq.partition)
    found: list[Decision] = []
    async for entry in readable_entries(reader, journal):
        if isinstance(entry, QueueReplaced) and letter.offset >= entry.kept:
            found.clear()
        if isinstance(entry, Disposed):
            found += _about(entry, letter.offset)
    return found


async def readable_entries(reader: LogReader, journal: TopicPartition) -> AsyncIterator[Entry]:
    """From the first record to the last stable one, without batches that cannot be read."""
    begin, end = await reader.beginning_offset(journal), await reader.last_stable_offset(journal)
    while begin < end:
        try:
            batch = await read_some(reader, journal, begin, end, _READ_RECORDS)
        except BatchUnreadable as error:
            begin = behind(error, end)
            continue
        begin = batch.end
        for entry in entries(batch):
            yield entry


def _about(entry: Disposed, offset: int) -> list[Decision]:
    decided = {
        ReplayDisposition.REPLAYED: entry.replayed,
        ReplayDisposition.PARKED: entry.parked,
        ReplayDisposition.DISCARDED: entry.discarded,
    }
    here = np.array([offset], np.int64)
    return [
        Decision(disposition, entry.at_ms, entry.actor, entry.plan, entry.reason)
        for disposition, text in decided.items()
        if text and OffsetSet.parse(text).mask(here)[0]
    ]
