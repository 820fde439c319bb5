"""What a restore has to read: the changelog of one source topic, counted entry by entry."""

from __future__ import annotations

from dataclasses import dataclass

from streams.connect.broker.log_range import read_range
from streams.core.topics.topic import Topic
from streams.core.types import LogReader, TopicPartition
from streams.engine.engine_tables import MINUTE_WINDOWS, SEEN_EVENTS
from streams.engine.identities.seen_events import ID_BYTES
from streams.engine.state.changelog import unpack
from streams.engine.windows.names import SeriesNames
from streams.engine.windows.window_segment import decode_rows


@dataclass(slots=True)
class ChangelogSize:
    """``records`` are Kafka's; ids and window rows lie packed inside them."""

    records: int = 0
    bytes: int = 0
    ids: int = 0
    window_rows: int = 0


async def changelog_size(reader: LogReader, topic: Topic, group: str) -> ChangelogSize:
    """Read every partition's changelog from its start to its last stable offset."""
    size = ChangelogSize()
    for number in range(topic.partitions):
        log = TopicPartition(topic.changelog(group), number)
        begin, end = await reader.beginning_offset(log), await reader.last_stable_offset(log)
        async for batch in read_range(reader, log, begin, end):
            for value in batch.values:
                _count(size, value or b"")
    return size


def _count(size: ChangelogSize, record: bytes) -> None:
    _, entries = unpack(record)
    size.records += 1
    size.bytes += len(record)
    for key, value in entries:
        if value is None:
            continue
        if key[:1] == SEEN_EVENTS.prefix:
            size.ids += len(value) // ID_BYTES
        elif key[:1] == MINUTE_WINDOWS.prefix:
            size.window_rows += len(decode_rows(SeriesNames(), [(1, value)]).key)
