"""An in-memory Kafka on one clock, for tests and the simulation.

It passes the real broker's contract suite (tests/contract): offsets, transactions with control
markers, fencing, last stable offset, static members, eager rebalances, log starts. A `VirtualClock`
makes it deterministic."""

from __future__ import annotations

from collections.abc import Sequence

from streams.connect.broker.memory.admin import MemoryAdmin
from streams.connect.broker.memory.cluster import Cluster
from streams.connect.broker.memory.consumer import MemoryConsumer
from streams.connect.broker.memory.faults import Faults
from streams.connect.broker.memory.log import Log
from streams.connect.broker.memory.producer import MemoryPlainProducer, MemoryTransactionalProducer
from streams.connect.broker.memory.reader import MemoryReader
from streams.connect.broker.memory.replicas import Replicas
from streams.core.clock import Clock
from streams.core.types import CommittedOffset, Headers, TopicPartition


class MemoryBroker:
    """``faults`` injects faults. `MemoryConsumer.stop` and `close` of producers act like kill -9:
    static members and open transactions stay."""

    def __init__(
        self,
        clock: Clock,
        *,
        session_timeout_s: float = 10.0,
        transaction_timeout_s: float = 30.0,
        marker_delay_s: float = 0.0,
    ) -> None:
        """``marker_delay_s``: from the answer to a commit or abort until the control markers are
        written. Kafka promises no bound."""
        self._cluster = Cluster(clock, marker_delay_s)
        self.members: dict[str, MemoryConsumer] = {}
        """by instance id, for `mute`"""
        self._session_timeout_s = session_timeout_s
        self._transaction_timeout_s = transaction_timeout_s

    @property
    def faults(self) -> Faults:
        return self._cluster.faults

    @property
    def replicas(self) -> Replicas:
        return self._cluster.replicas

    def rebalance(self, group: str) -> None:
        self._cluster.group(group).rebalance()
        self._cluster.signal.notify()

    def log(self, tp: TopicPartition) -> Log:
        """For tests; faults do not apply."""
        return self._cluster.log(tp)

    def replace_log(self, tp: TopicPartition) -> None:
        """As when its topic is deleted and recreated. Clients get no notice."""
        self._cluster.topics[tp.topic].logs[tp.partition] = Log(tp)

    def append(
        self,
        tp: TopicPartition,
        key: bytes | None,
        value: bytes | None,
        headers: Headers = (),
        append_ms: int | None = None,
    ) -> None:
        """Regardless of faults. ``append_ms`` defaults to the broker's time."""
        entry = self._cluster.entry(tp, key, value, headers, None)
        if append_ms is not None:
            entry.timestamp_ms = append_ms
        self.log(tp).append(entry)

    def partitions(self) -> list[TopicPartition]:
        return [log.tp for _, t in sorted(self._cluster.topics.items()) for log in t.logs]

    def is_torn(self, group: str, tp: TopicPartition) -> bool:
        return (group, tp) in self._cluster.transactions.torn

    def committed(self, group: str, tp: TopicPartition) -> CommittedOffset | None:
        """Faults do not apply, and a marker that is pending counts as written."""
        decided = self._cluster.transactions.decided_offset(group, tp)
        return decided or self._cluster.group(group).offsets.get(tp)

    def consumer(self, group: str, topics: Sequence[str], instance_id: str) -> MemoryConsumer:
        member = MemoryConsumer(self._cluster, group, topics, instance_id, self._session_timeout_s)
        self.members[instance_id] = member
        return member

    async def reader(self) -> MemoryReader:
        return MemoryReader(self._cluster)

    def transactional_producer(self, transactional_id: str) -> MemoryTransactionalProducer:
        return MemoryTransactionalProducer(
            self._cluster, transactional_id, self._transaction_timeout_s
        )

    def plain_producer(self) -> MemoryPlainProducer:
        return MemoryPlainProducer(self._cluster)

    async def admin(self) -> MemoryAdmin:
        return MemoryAdmin(self._cluster)
