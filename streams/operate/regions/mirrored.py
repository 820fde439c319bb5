"""How far the mirror of another region came, in offsets of that region's logs.

MirrorMaker 2 keeps its offsets in the cluster that it writes to, in the transaction of the copies:
topic ``mm2-offsets.REGION.internal``, a JSON record for each partition."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

import msgspec

from streams.connect.broker.log_range import read_range, read_some
from streams.connect.broker.opened import opened
from streams.core.errors import BrokerUnavailable
from streams.core.records import headers
from streams.core.topics.topology import Topology
from streams.core.types import (
    Broker,
    Headers,
    LogBounds,
    LogReader,
    OffsetOutOfRange,
    RecordBatch,
    TopicPartition,
)

CONNECTOR = "MirrorSourceConnector"
COUNTED_MAX = 20_000
"""records of a partition that are looked at, from the first that a mirror copies on; behind them offsets are
counted"""
READERS_MAX = 16
PARTITIONS_A_READER = 64
"""A reader waits for another region's answers one at a time, two a partition: with 80 ms each, 64 partitions take
10 s, and 1,000 partitions of 16 readers as long."""
TRIMMED_MAX = 5
"""times that records may be deleted before they are read"""
STAYS = frozenset({headers.MIRRORED, headers.REPLAY_HOPS})


@dataclass(frozen=True, slots=True)
class Unmirrored:
    """Offsets [first, until) of ``tp`` in ``region`` hold ``records`` that the mirror has not copied. ``oldest_ms`` is the
    append time of the first that is still there. ``gone`` of them are not: retention deleted them. ``until``
    None: the log's end is unknown, as its cluster is away."""

    region: str
    tp: TopicPartition
    first: int
    until: int | None
    records: int | None
    oldest_ms: int | None
    gone: int = 0

    @property
    def comes(self) -> bool:
        """Whether a mirror can still copy some of them."""
        return self.records is None or self.records > self.gone


@dataclass(frozen=True, slots=True)
class SeenLogs:
    """What former looks at the logs of one region have found, for the mirror into another one.

    ``passed``: by partition, the offset below which nothing is left that the mirror copies. A mirror writes
    no offset for records that it does not copy: of a region that was not active they are the whole log.
    ``same``: partitions whose log is the one that was copied (`made_anew`)."""

    passed: dict[TopicPartition, int] = field(default_factory=dict)
    same: set[TopicPartition] = field(default_factory=set)


def offsets_topic(source: str) -> str:
    """In the target's cluster, of a mirror of region ``source``."""
    return f"mm2-offsets.{source}.internal"


def offset_entry(source: str, tp: TopicPartition, last: int) -> tuple[bytes, bytes]:
    """Key and value that say that the record at ``last`` is copied, as MirrorMaker writes them."""
    where = {"cluster": source, "partition": tp.partition, "topic": tp.topic}
    return msgspec.json.encode([CONNECTOR, where]), msgspec.json.encode({"offset": last})


def mirrored_topics(topology: Topology) -> list[str]:
    """The sources. Dead letters, outputs and changelogs are each region's own."""
    return [topic.name for topic in topology.consumed()]


async def taken(broker: Broker, source: str) -> dict[TopicPartition, int]:
    """For each partition of ``source``, the offset behind the last record that was copied to
    ``broker``. Empty before the mirror copied its first. Raises `BrokerUnavailable`."""
    name = offsets_topic(source)
    async with opened(broker.admin()) as admin:
        topics = await admin.describe_topics()
    if name not in topics:
        return {}
    partitions = [TopicPartition(name, number) for number in range(topics[name].partitions)]
    found: dict[TopicPartition, int] = {}
    async with opened(broker.reader()) as reader:
        for tp, (begin, end) in (await reader.bounds(partitions)).items():
            async for batch in read_range(reader, tp, begin, end):
                found |= _entries(batch, source)
    return found


def _entries(batch: RecordBatch, source: str) -> dict[TopicPartition, int]:
    found: dict[TopicPartition, int] = {}
    for key, value in zip(batch.keys, batch.values, strict=True):
        if key is None or value is None:
            continue
        match msgspec.json.decode(key), msgspec.json.decode(value):
            case [str(name), {"cluster": str(cluster), "topic": str(topic), "partition": int(n)}], {
                "offset": int(last)
            } if name == CONNECTOR and cluster == source:
                found[TopicPartition(topic, n)] = last + 1
    return found


async def sources_of(broker: Broker, topology: Topology) -> list[TopicPartition]:
    """Every partition of the mirrored topics that ``broker`` has. Raises `BrokerUnavailable`."""
    async with opened(broker.admin()) as admin:
        topics = await admin.describe_topics()
    return [
        TopicPartition(name, number)
        for name in mirrored_topics(topology)
        if name in topics
        for number in range(topics[name].partitions)
    ]


async def missing_of(
    source: Broker, target: Broker, topology: Topology, name: str, seen: SeenLogs | None = None
) -> tuple[Unmirrored, ...]:
    """What the mirror of region ``name``, whose cluster is ``source``, has not copied to ``target``.
    ``seen`` is kept for the next call with this pair of regions.

    Raises `BrokerUnavailable`."""
    copied = await taken(target, name)
    partitions = await sources_of(source, topology)
    count = min(READERS_MAX, 1 + len(partitions) // PARTITIONS_A_READER)

    async def of(share: Sequence[TopicPartition]) -> list[Unmirrored]:
        async with opened(source.reader()) as reader:
            return await unmirrored(reader, name, share, copied, seen)

    asked = [asyncio.create_task(of(partitions[at::count])) for at in range(count)]
    try:
        found = await asyncio.gather(*asked)
    finally:
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
    return tuple(sorted(chain.from_iterable(found), key=lambda one: one.tp))


async def expired(
    source: Broker, target: Broker, topology: Topology, name: str
) -> list[Unmirrored]:
    """What retention deleted in region ``name``, whose cluster is ``source``, before the mirror came to it,
    copies and repairs among it. Once a mirror goes on behind it, its offsets no longer say so.

    Raises `BrokerUnavailable`."""
    copied = await taken(target, name)
    partitions = await sources_of(source, topology)
    async with opened(source.reader()) as reader:
        bounds = await reader.bounds(partitions)
    return [
        Unmirrored(name, tp, first, begin, begin - first, None, begin - first)
        for tp, (begin, _) in bounds.items()
        for first in (copied.get(tp, 0),)
        if first < begin
    ]


async def unmirrored(
    reader: LogReader,
    name: str,
    partitions: Iterable[TopicPartition],
    copied: Mapping[TopicPartition, int],
    seen: SeenLogs | None = None,
) -> list[Unmirrored]:
    """What the mirror has not copied, of each partition with such records; ``reader`` reads region ``name``.
    Records that no mirror copies (`is_copied`) are left out. Raises as `LogReader`."""
    found = []
    seen = SeenLogs() if seen is None else seen
    every = await reader.bounds(partitions)
    anew = await made_anew(reader, every, copied, seen)
    for tp, bounds in every.items():
        first = 0 if tp in anew else copied.get(tp, 0)
        if first < bounds.stable_end:
            missing = await _counted(reader, name, tp, first, bounds, seen.passed)
            if missing is not None:
                found.append(missing)
    return found


async def made_anew(
    reader: LogReader,
    bounds: Mapping[TopicPartition, LogBounds],
    copied: Mapping[TopicPartition, int],
    seen: SeenLogs,
) -> set[TopicPartition]:
    """Partitions whose log is not the one that a mirror copied from: it ends before the record that was copied
    last, or has one at its offset that no mirror copies. Raises as `LogReader`."""
    found = set()
    for tp, (begin, end) in bounds.items():
        last = copied.get(tp, 0) - 1
        if last >= end:
            found.add(tp)
        elif last >= begin and tp not in seen.same:
            try:
                batch = await read_some(reader, tp, last, end, 1)
            except OffsetOutOfRange:
                continue  # retention deleted it
            if len(batch) and batch.offsets[0] == last and not is_copied(batch.headers[0]):
                found.add(tp)
            else:
                seen.same.add(tp)
    return found


async def _counted(
    reader: LogReader,
    name: str,
    tp: TopicPartition,
    first: int,
    bounds: LogBounds,
    passed: dict[TopicPartition, int],
) -> Unmirrored | None:
    """Raises `BrokerUnavailable` where retention deletes faster than records are read."""
    for _ in range(TRIMMED_MAX):
        begin, end = bounds
        since = passed.get(tp, 0)
        since = max(first, since) if since <= end else first  # of a log that was made anew
        try:
            return await _missing(reader, name, tp, since, max(since, begin), end, passed)
        except OffsetOutOfRange:
            bounds = (await reader.bounds([tp]))[tp]
    raise BrokerUnavailable(
        f"retention deletes records of {tp} faster than they are read. Give the topic a longer one "
        "(DIA_TOPIC_RETENTION_S, `dia topics apply`), or try again."
    )


async def _missing(
    reader: LogReader,
    name: str,
    tp: TopicPartition,
    first: int,
    begin: int,
    end: int,
    passed: dict[TopicPartition, int],
) -> Unmirrored | None:
    """Records below ``begin`` are gone unmirrored, by retention."""
    records = begin - first
    start, oldest_ms, at, seen = first if records else None, None, begin, 0
    while at < end and seen < COUNTED_MAX:
        batch = await read_some(reader, tp, at, end)
        for row in _own(batch):
            if batch.offsets[row] >= end:
                break
            start = batch.offsets[row] if start is None else start
            oldest_ms = batch.timestamps[row] if oldest_ms is None else oldest_ms
            records += 1
        at = batch.end
        if oldest_ms is None:
            passed[tp] = min(at, end)
        else:
            seen += len(batch)
    records += max(0, end - at)
    if start is None:
        return None
    return Unmirrored(name, tp, start, end, records, oldest_ms, begin - first)


def _own(batch: RecordBatch) -> Iterable[int]:
    """Indexes of the records that a mirror copies."""
    if not batch.any_headers():
        return range(len(batch))
    return (row for row, found in enumerate(batch.headers) if is_copied(found))


def is_copied(found: Headers) -> bool:
    """Whether a mirror copies a record with these headers: not one that came by a mirror, and not
    one that `dia replay` or `dia shed return` appended, as each region decides on its own letters
    and ranges."""
    return STAYS.isdisjoint(name for name, _ in found)


def that_come(missing: Iterable[Unmirrored]) -> list[Unmirrored]:
    """Those that are worth a wait. Of a partition that retention has emptied, no mirror copies anything,
    and so its offsets never say that they came to the end."""
    return [one for one in missing if one.comes]


def records_of(missing: Iterable[Unmirrored]) -> int:
    """Without those of a region that is away, whose end is unknown."""
    return sum(one.records or 0 for one in missing)


def oldest_s(missing: Sequence[Unmirrored], now_ms: int) -> float:
    """Seconds since the first of these records was appended; 0 without any."""
    return max(((now_ms - one.oldest_ms) / 1000 for one in missing if one.oldest_ms), default=0.0)
