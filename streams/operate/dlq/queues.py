"""Resolves names to DLQ topics, and ids to one dead letter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from streams.core.errors import UnknownTopic, UsageError
from streams.core.topics.topology import Topology
from streams.core.types import Admin, LogReader, OffsetOutOfRange, TopicConfig, TopicPartition
from streams.operate.dlq.dead_letter import DeadLetterRecord
from streams.operate.dlq.scan import OffsetSpan, bounds, scan


class Queue(NamedTuple):
    topic: str
    partitions: int


async def queues(admin: Admin, topology: Topology, names: Sequence[str] = ()) -> list[Queue]:
    """The DLQ topics of the named topics, or of every declared source.

    A name is that of a source topic, or of any topic to be read as a DLQ. Raises `UsageError` for a
    topic without a DLQ, and `UnknownTopic` when a declared DLQ does not exist."""
    return queues_in(await admin.describe_topics(), topology, names)


def queues_in(
    topics: Mapping[str, TopicConfig], topology: Topology, names: Sequence[str] = ()
) -> list[Queue]:
    wanted = names or [*topology.by_name]
    found = dict.fromkeys(_dlq(name, topics, topology) for name in wanted)
    return [Queue(name, topics[name].partitions) for name in found]


def _dlq(name: str, topics: Iterable[str], topology: Topology) -> str:
    if name in topology.by_name:
        dlq = topology.by_name[name].dlq
        if dlq not in topics:
            raise UnknownTopic(f"topic {dlq} does not exist. Run `dia topics apply`.")
        return dlq
    if f"{name}.dlq" in topics:
        return f"{name}.dlq"
    if name not in topics:
        raise UsageError(
            f"there is no topic {name}, and none {name}.dlq. dia keeps the dead letters of "
            f"{topology.names}; any other DLQ topic is read by its full name."
        )
    return name


async def spans_of(reader: LogReader, found: Iterable[Queue]) -> list[OffsetSpan]:
    return [span for queue in found for span in await bounds(reader, *queue)]


async def find(
    admin: Admin, reader: LogReader, topology: Topology, place: str
) -> DeadLetterRecord | None:
    """The dead letter of an id (``topic/partition/offset`` of the failed record, with ``/eN`` in
    epoch N), or at a place in a DLQ topic.

    An id is searched in its partition, where dia writes it. Raises `UsageError`, and as
    `queues`."""
    parts = place.split("/")
    if len(parts) not in (3, 4) or not all(part.isdigit() for part in parts[1:3]):
        raise UsageError(
            f'Invalid place "{place}": use topic/partition/offset, as `dia dlq list` prints it.'
        )
    topic, partition, offset = parts[0], int(parts[1]), int(parts[2])
    [queue] = await queues(admin, topology, [_source_of(topology, topic)])
    if partition >= queue.partitions:
        raise UsageError(f"{queue.topic} has partitions 0 to {queue.partitions - 1}.")
    tp = TopicPartition(queue.topic, partition)
    if queue.topic == topic:
        return await _at(reader, topology, tp, offset)
    for span in await bounds(reader, *queue):
        # A refused row has the name of its changelog; its dead letter may be in another partition.
        if span.tp == tp or len(parts) == 4:
            async for page in scan(reader, [span], topology):
                for letter in page:
                    if letter.id == place:
                        return letter
    return None


def _source_of(topology: Topology, topic: str) -> str:
    """The source of a changelog; else the topic itself."""
    for group, source in topology.sources():
        if source.changelog(group) == topic:
            return source.name
    return topic


async def _at(
    reader: LogReader, topology: Topology, tp: TopicPartition, offset: int
) -> DeadLetterRecord | None:
    end = await reader.last_stable_offset(tp)
    if offset >= end:
        return None
    try:
        async for page in scan(reader, [OffsetSpan(tp, offset, offset + 1)], topology):
            return page[0]
    except OffsetOutOfRange:
        return None
    return None
