"""State of the in-memory broker: topics, groups, transactions, and the wait for a change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from streams.connect.broker.memory.faults import UNSTABLE_OFFSET_COMMIT, Call, Faults, SpoiledRead
from streams.connect.broker.memory.group import MemoryGroup
from streams.connect.broker.memory.log import Log, LogEntry
from streams.connect.broker.memory.replicas import Replicas
from streams.connect.broker.memory.transactions import TransactionCoordinator
from streams.core.clock import Clock
from streams.core.errors import BrokerUnavailable, UnknownTopic
from streams.core.records.bad_records import TooLarge
from streams.core.types import CommittedOffset, Headers, RecordBatch, TopicPartition
from streams.core.wake_signal import WakeSignal

DEFAULT_MAX_MESSAGE_BYTES = 1_048_588
RECORD_OVERHEAD_BYTES = 70
"""Batch header and record framing; the limit applies per record, uncompressed."""


class FetchAnswer(NamedTuple):
    """A batch and the leader's last stable offset, or, without a batch, the throttle time."""

    batch: RecordBatch | None
    last_stable_offset: int
    throttle_s: float


@dataclass(slots=True)
class MemoryTopic:
    logs: list[Log]
    replication_factor: int
    config: dict[str, str]


class Cluster:
    """Clients change it; it has no task of its own."""

    def __init__(self, clock: Clock, marker_delay_s: float = 0.0) -> None:
        self.clock = clock
        self.cluster_id = "memory"
        self.signal = WakeSignal(clock)
        self.faults = Faults(clock, self.signal.notify)
        self.topics: dict[str, MemoryTopic] = {}
        self.groups: dict[str, MemoryGroup] = {}
        self.replicas = Replicas(clock, marker_delay_s)
        self.transactions = TransactionCoordinator(
            clock, self.commit_offsets, self.faults.take_extra_marker, self.replicas
        )

    def partitions(self, topic: str) -> int:
        return len(self.topics[topic].logs) if topic in self.topics else 0

    def log(self, tp: TopicPartition) -> Log:
        if not 0 <= tp.partition < self.partitions(tp.topic):
            raise UnknownTopic(f"{tp} does not exist. Run `dia topics apply`.")
        return self.topics[tp.topic].logs[tp.partition]

    def group(self, name: str) -> MemoryGroup:
        if name not in self.groups:
            self.groups[name] = MemoryGroup(self.partitions, self.clock.monotonic)
        return self.groups[name]

    def fetch(
        self, tp: TopicPartition, offset: int, max_records: int, *, aborted: bool = False
    ) -> FetchAnswer:
        """With ``aborted``, up to the high watermark. Raises `OffsetOutOfRange`."""
        log, spoiled = self.log(tp), self.faults.take_read(tp) or SpoiledRead()
        if spoiled.throttle_s > 0:
            return FetchAnswer(None, 0, spoiled.throttle_s)
        replicas = self.replicas
        end = replicas.high_watermark(log) if aborted else replicas.last_stable_offset(log)
        end = max(end - spoiled.behind, 0)
        if spoiled.records_max is not None:
            max_records = min(max_records, spoiled.records_max)
        if max_records > 0:
            read = log.read_all if aborted else log.read_committed
            return FetchAnswer(read(offset, max_records, end), end, 0.0)
        # raises for an offset outside the log
        log.read_committed(offset, 0, offset)
        return FetchAnswer(RecordBatch(tp, offset, offset), end, 0.0)

    def trim(self, tp: TopicPartition, before: int) -> None:
        """Raises `BrokerUnavailable` past the leader's end."""
        log = self.log(tp)
        if self.faults.take_refused_trim() or before > self.replicas.high_watermark(log):
            raise BrokerUnavailable(
                f"{tp} is not trimmed to offset {before}: its leader does not hold so many "
                f"replicated records. Nothing was deleted. Try again later."
            )
        log.trim(before)

    def refusal(self, group: str, partitions: Iterable[TopicPartition], *, stable: bool) -> str:
        refused = self.faults.coordinator_refusal()
        if not stable:
            return "" if refused == UNSTABLE_OFFSET_COMMIT else refused
        pending = any(self.transactions.commits_offset(group, tp) for tp in partitions)
        return refused or (UNSTABLE_OFFSET_COMMIT if pending else "")

    def commit_offsets(self, group: str, offsets: Mapping[TopicPartition, CommittedOffset]) -> None:
        self.group(group).offsets.update(offsets)

    def entry(
        self,
        tp: TopicPartition,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
        timestamp_ms: int | None,
    ) -> LogEntry:
        """Raises `TooLarge` above ``max.message.bytes``, and TypeError as Kafka's client does."""
        if value is not None and type(value) is not bytes:
            raise TypeError(f"a value for {tp} is of type {type(value).__name__}, not bytes")
        config = self.topics[tp.topic].config
        limit = int(config.get("max.message.bytes", DEFAULT_MAX_MESSAGE_BYTES))
        size = RECORD_OVERHEAD_BYTES + len(key or b"") + len(value or b"")
        if headers:
            size += sum(len(name.encode()) + len(content) for name, content in headers)
        if size > limit:
            raise TooLarge(f"{size} bytes for {tp}, which takes at most {limit}")
        append_time = config.get("message.timestamp.type") == "LogAppendTime"
        if append_time or timestamp_ms is None:
            timestamp_ms = self.clock.now_ms()
        return LogEntry(timestamp_ms, key, value, headers, append_time=append_time)

    async def call(self, kind: Call) -> None:
        await self.faults.strike(kind)
        self.expire()

    def expire(self) -> None:
        changed = [group.expire() for group in self.groups.values()]
        changed += [self.transactions.expire(), self.replicas.expire()]
        if any(changed):
            self.signal.notify()

    async def wait(self, deadline_s: float | None) -> None:
        """At most until monotonic time ``deadline_s``."""
        moments = [group.next_deadline() for group in self.groups.values()]
        moments += [self.transactions.next_deadline(), self.replicas.next_deadline(), deadline_s]
        await self.signal.wait(min((m for m in moments if m is not None), default=None))
        self.expire()

    async def until(self, ready: Callable[[], bool]) -> None:
        """Checked after every change."""
        self.expire()
        while not ready():
            await self.wait(None)
