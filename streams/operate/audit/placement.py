"""Finds keys outside murmur2's partition. Duplicates are detected within a partition, so an id sent
through two partitioners may be counted twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from streams.connect.broker.log_range import behind, read_some
from streams.connect.broker.partitioner import partition_of
from streams.core.errors import BatchUnreadable
from streams.core.types import LogReader, OffsetOutOfRange, TopicPartition
from streams.operate.audit.finding import AuditFinding, FindingPlace
from streams.operate.audit.reference_decoder import ReferenceDecoder, Rules
from streams.operate.audit.snapshot import PartitionSnapshot

SAMPLE_OFFSETS = 300
IDS_MAX = 2_000_000
_PAGE_RECORDS = 5000
_SHOWN_KEYS = 3
ADVICE = (
    "a producer does not use murmur2 (librdkafka: partitioner=murmur2_random), or the topic grew; "
    "repeats across partitions are not found"
)


def elsewhere(keys: Iterable[bytes | None], partition: int, partitions: int) -> set[bytes]:
    return {key for key in keys if key is not None and partition_of(key, partitions) != partition}


async def sample(reader: LogReader, topic: str, partitions: int) -> Counter[int]:
    """Misplaced keys among the newest records, by partition. Raises `BrokerUnavailable`,
    `UnknownTopic`."""
    found: Counter[int] = Counter()
    for number in range(partitions):
        tp = TopicPartition(topic, number)
        begin, end = await reader.beginning_offset(tp), await reader.last_stable_offset(tp)
        try:
            batch = await reader.read(tp, max(begin, end - SAMPLE_OFFSETS), SAMPLE_OFFSETS)
        except (BatchUnreadable, OffsetOutOfRange):
            continue  # reported elsewhere
        if wrong := elsewhere(set(batch.keys), number, partitions):
            found[number] = len(wrong)
    return found


def sample_note(topic: str, found: Mapping[int, int]) -> str:
    return (
        f"{topic}: {sum(found.values())} keys among the newest records of partitions "
        f"{sorted(found)} belong into others by murmur2: {ADVICE}. --deep counts the ids"
    )


@dataclass(slots=True)
class DoubledIds:
    """Ids of misplaced keys applied in two partitions within the dedupe TTL. Not ``whole``: ``ids``
    may be incomplete."""

    keys: AbstractSet[bytes]
    rules: Rules
    ids: int = 0
    whole: bool = True
    _seen: dict[int, tuple[int, int]] = field(default_factory=dict)

    async def read(self, reader: LogReader, topic: str, books: PartitionSnapshot) -> None:
        row, tp = books.ledger[-1], TopicPartition(topic, books.partition)
        shed = [range(s.first, s.until) for s in books.shed if s.epoch == row.epoch]
        judge, offset = ReferenceDecoder(self.rules), max(row.start_offset, books.begin_offset)
        while offset < row.next_offset:
            try:
                batch = await read_some(reader, tp, offset, row.next_offset, _PAGE_RECORDS)
            except BatchUnreadable as error:
                offset = behind(error, row.next_offset)
                self.whole = False
                continue
            except OffsetOutOfRange:
                self.whole = False  # deleted by retention meanwhile
                return
            for at, key in enumerate(batch.keys):
                if key not in self.keys:
                    continue
                here = batch.offsets[at]
                if here < row.next_offset and not any(here in skipped for skipped in shed):
                    append_ms = batch.timestamps[at]
                    said = batch.values[at], batch.headers[at]
                    verdict, event = judge.judge(append_ms, key, *said)
                    if verdict == "applied" and event is not None:
                        self._count(hash(event.identity), books.partition, append_ms)
            offset = batch.end

    def _count(self, identity: int, partition: int, append_ms: int) -> None:
        first = self._seen.get(identity)
        if first is None:
            if len(self._seen) < IDS_MAX:
                self._seen[identity] = partition, append_ms
            else:
                self.whole = False
        elif first[0] != partition and abs(append_ms - first[1]) <= self.rules.dedupe_ttl_ms:
            self.ids += 1


def finding(topic: str, keys: Sequence[bytes], doubled: DoubledIds) -> AuditFinding:
    names = ", ".join(key.decode(errors="replace")[:40] for key in keys[:_SHOWN_KEYS])
    least = "" if doubled.whole else "at least "
    return AuditFinding(
        "placement",
        FindingPlace(topic),
        "each id counted in one partition",
        f"{least}{doubled.ids} ids counted in two",
        f"{len(keys)} keys ({names}) lie in partitions that murmur2 does not name: {ADVICE}",
    )
