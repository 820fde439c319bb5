"""What the in-memory broker holds: topics, groups, transactions, and one way to wait for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from streams.broker.memory_faults import Call, Faults
from streams.broker.memory_group import Group
from streams.broker.memory_log import Entry, Log
from streams.broker.memory_transactions import TransactionCoordinator
from streams.clock import Clock
from streams.errors import TooLarge, UnknownTopic
from streams.types import CommittedOffset, Headers, TopicPartition
from streams.wake_signal import WakeSignal

DEFAULT_MAX_MESSAGE_BYTES = 1_048_588
"""Kafka's default of ``max.message.bytes``."""
RECORD_OVERHEAD_BYTES = 70
"""Batch header and record framing; the limit is checked per record, uncompressed."""


@dataclass(slots=True)
class Topic:
    """A topic's logs, by partition, and the configuration set on it."""

    logs: list[Log]
    replication_factor: int
    config: dict[str, str]


class Cluster:
    """The broker's whole state. Clients change it; nothing here runs by itself."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.cluster_id = "memory"
        self.signal = WakeSignal(clock)
        self.faults = Faults(clock, self.signal.notify)
        self.topics: dict[str, Topic] = {}
        self.groups: dict[str, Group] = {}
        self.transactions = TransactionCoordinator(
            clock, self.commit_offsets, self.faults.take_extra_marker
        )

    def partitions(self, topic: str) -> int:
        """0 for a topic that does not exist."""
        return len(self.topics[topic].logs) if topic in self.topics else 0

    def log(self, tp: TopicPartition) -> Log:
        if not 0 <= tp.partition < self.partitions(tp.topic):
            raise UnknownTopic(f"{tp} does not exist. Run `dia topics apply`.")
        return self.topics[tp.topic].logs[tp.partition]

    def group(self, name: str) -> Group:
        if name not in self.groups:
            self.groups[name] = Group(self.partitions, self.clock.monotonic)
        return self.groups[name]

    def commit_offsets(self, group: str, offsets: Mapping[TopicPartition, CommittedOffset]) -> None:
        self.group(group).offsets.update(offsets)

    def entry(
        self,
        tp: TopicPartition,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
        timestamp_ms: int | None,
    ) -> Entry:
        """The record as the topic would store it. `TooLarge` above ``max.message.bytes``."""
        config = self.topics[tp.topic].config
        limit = int(config.get("max.message.bytes", DEFAULT_MAX_MESSAGE_BYTES))
        size = RECORD_OVERHEAD_BYTES + len(key or b"") + len(value or b"")
        size += sum(len(name.encode()) + len(content) for name, content in headers)
        if size > limit:
            raise TooLarge(f"{size} bytes for {tp}, which takes at most {limit}")
        append_time = config.get("message.timestamp.type") == "LogAppendTime"
        if append_time or timestamp_ms is None:
            timestamp_ms = self.clock.now_ms()
        return Entry(timestamp_ms, key, value, headers, append_time=append_time)

    async def call(self, kind: Call) -> None:
        """A client's call arrives: let due faults strike and overdue things expire."""
        await self.faults.strike(kind)
        self.expire()

    def expire(self) -> None:
        """Apply session and transaction timeouts that the clock has passed."""
        changed = [group.expire() for group in self.groups.values()]
        if self.transactions.expire() or any(changed):
            self.signal.notify()

    async def wait(self, deadline_s: float | None) -> None:
        """Until something may have changed, or the clock's monotonic time is ``deadline_s``."""
        moments = [group.next_deadline() for group in self.groups.values()]
        moments += [self.transactions.next_deadline(), deadline_s]
        await self.signal.wait(min((m for m in moments if m is not None), default=None))
        self.expire()

    async def until(self, ready: Callable[[], bool]) -> None:
        """Wait until ``ready`` holds, looking again after every change."""
        self.expire()
        while not ready():
            await self.wait(None)
