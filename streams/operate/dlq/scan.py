"""Scans DLQ topics in bounded memory, up to offsets that are fixed first: a DLQ may grow
meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from typing import NamedTuple

import structlog

from streams.connect.broker.log_range import behind, read_some
from streams.core.errors import BatchUnreadable, BrokerUnavailable, TopicRecreated
from streams.core.topics.topology import Topology
from streams.core.types import LogReader, OffsetOutOfRange, TopicPartition
from streams.operate.dlq.dead_letter import DeadLetterRecord, letters

PAGE_RECORDS = 5000

log = structlog.get_logger(__name__)


class OffsetSpan(NamedTuple):
    """Offsets [start, end) of one partition of a DLQ topic."""

    tp: TopicPartition
    start: int
    end: int

    @property
    def offsets(self) -> int:
        """The number of offsets, transaction markers included."""
        return max(0, self.end - self.start)


async def bounds(reader: LogReader, topic: str, partitions: int) -> list[OffsetSpan]:
    """Up to the last stable offset. Raises `BrokerUnavailable` and `UnknownTopic`."""
    found = await reader.bounds(TopicPartition(topic, number) for number in range(partitions))
    return [OffsetSpan(tp, log.begin, log.stable_end) for tp, log in found.items()]


async def scan(
    reader: LogReader,
    spans: Iterable[OffsetSpan],
    topology: Topology,
    page_records: int = PAGE_RECORDS,
    *,
    aside: bool = False,
) -> AsyncGenerator[list[DeadLetterRecord], None]:
    """The dead letters of the spans, in lists of one partition in offset order. ``aside``: decodes
    in a thread.

    Skips dead letters that retention deletes meanwhile, and logs batches that cannot be
    decompressed. Raises `TopicRecreated` when a log ends before its span, and
    `BrokerUnavailable`."""
    for tp, start, end in spans:
        at = start
        while at < end:
            try:
                batch = await read_some(reader, tp, at, end, min(page_records, end - at))
            except OffsetOutOfRange:
                at = await _kept_from(reader, tp, at)
                continue
            except BatchUnreadable as error:
                at = behind(error, end)
                log.warning("dead_letters_unreadable", tp=str(tp), until=at, why=error.why)
                continue
            except BrokerUnavailable:
                ends_at = await reader.last_stable_offset(tp)
                if ends_at < end:
                    raise _shorter(tp, ends_at, end) from None
                raise
            at = batch.end
            if aside:
                found = await asyncio.to_thread(letters, batch, topology)
            else:
                found = letters(batch, topology)
            while found and found[-1].offset >= end:
                found.pop()
            if found:
                yield found


async def _kept_from(reader: LogReader, tp: TopicPartition, asked: int) -> int:
    start = await reader.beginning_offset(tp)
    if start <= asked:
        raise _shorter(tp, await reader.last_stable_offset(tp), asked)
    return start


def _shorter(tp: TopicPartition, ends_at: int, expected: int) -> TopicRecreated:
    return TopicRecreated(
        f"{tp} ends at offset {ends_at}, but held records up to {expected}: the topic was deleted "
        "and made again. Run the command again to read what it holds now."
    )
