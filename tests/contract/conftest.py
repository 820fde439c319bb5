"""The brokers of the contract tests: the in-memory one and a real one (marker stack)."""

from __future__ import annotations

import asyncio
import itertools
import os
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence

import pytest

from streams.connect.broker.kafka.broker import KafkaBroker
from streams.connect.broker.log_range import read_range
from streams.connect.broker.memory.broker import MemoryBroker
from streams.connect.broker.opened import opened
from streams.core.clock import SystemClock
from streams.core.types import (
    Broker,
    CommittedOffset,
    GroupConsumer,
    OutboundRecord,
    PlainProducer,
    RecordBatch,
    TopicConfig,
    TopicPartition,
    TransactionalProducer,
)

SESSION_TIMEOUT_S = 6.0
"""The smallest value that a broker with default settings accepts."""
PATIENCE_S = 200.0
MARKER_DELAY_S = 0.03
"""In memory, a commit returns before its markers are in the partitions, as on a busy broker: a test
that reads right after a commit fails in memory, too."""


OF_OWN_CODE = ("replay", "reset", "schedule")
"""Folders about code of dia over a broker. The tests of the brokers themselves are in this folder; there both always
run. Of these folders `make test` runs on Kafka only the tests that depend on what a broker does at the same time: a
fence, a rebalance, a deleted topic, a commit whose markers come late. `make test-faults` runs all of them on Kafka."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the other tests of these folders on Kafka as long."""
    for item in items:
        named = item.name.partition("[")[2].rstrip("]").split("-")
        of_own_code = item.path.parts[-3] == "contract" and item.path.parts[-2] in OF_OWN_CODE
        if of_own_code and "kafka" in named and not item.get_closest_marker("on_kafka"):
            item.add_marker("long")


class Recorder:
    """A rebalance listener that seeks each new partition, as the engine does, and records the
    calls."""

    def __init__(self, consumer: GroupConsumer, offset: int | None = 0) -> None:
        self.consumer = consumer
        self.offset = offset
        self.revoked: list[frozenset[TopicPartition]] = []
        self.assigned: list[frozenset[TopicPartition]] = []

    async def on_revoked(self, partitions: frozenset[TopicPartition]) -> None:
        self.revoked.append(partitions)

    async def on_assigned(self, partitions: frozenset[TopicPartition]) -> None:
        self.assigned.append(partitions)
        if self.offset is not None:
            for tp in partitions:
                self.consumer.seek(tp, self.offset)


class World:
    """One broker and shortcuts for the tests. It closes all clients that it opened."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self._consumers: list[GroupConsumer] = []
        self._producers: list[TransactionalProducer | PlainProducer] = []
        self._names = itertools.count()
        self._run = uuid.uuid4().hex[:8]

    def name(self, kind: str) -> str:
        return f"{kind}-{self._run}-{next(self._names)}"

    async def topic(self, partitions: int = 1, config: Mapping[str, str] | None = None) -> str:
        name = self.name("topic")
        admin = await self.broker.admin()
        await admin.create_topics([TopicConfig(name, partitions, 1, config or {})])
        await admin.close()
        return name

    async def writer(self, transactional_id: str | None = None) -> TransactionalProducer:
        producer = self.broker.transactional_producer(transactional_id or self.name("txn"))
        self._producers.append(producer)
        await producer.start()
        return producer

    async def plain(self) -> PlainProducer:
        producer = self.broker.plain_producer()
        self._producers.append(producer)
        await producer.start()
        return producer

    async def write(
        self, writer: TransactionalProducer, tp: TopicPartition, *values: bytes, commit: bool = True
    ) -> list[int]:
        """Write ``values`` in one transaction; return their offsets."""
        await writer.begin()
        offsets = await self.send(writer, tp, *values)
        await (writer.commit() if commit else writer.abort())
        return offsets

    async def send(
        self, writer: TransactionalProducer, tp: TopicPartition, *values: bytes
    ) -> list[int]:
        sent = [await writer.send(OutboundRecord(tp, b"key", value)) for value in values]
        return [await offset for offset in sent]

    async def commit_offset(
        self, writer: TransactionalProducer, group: str, tp: TopicPartition, offset: int
    ) -> None:
        await writer.begin()
        await writer.send_offsets({tp: CommittedOffset(offset, "")}, group)
        await writer.commit()

    async def stable(self, tp: TopicPartition, end: int) -> None:
        """Wait until the last stable offset of ``tp`` is ``end``.

        A commit returns once it is decided; its markers reach the partitions a moment later.
        """
        reader = await self.broker.reader()
        async with asyncio.timeout(PATIENCE_S):
            while (stable := await reader.last_stable_offset(tp)) != end:
                assert stable < end
                await asyncio.sleep(0.01)
        await reader.close()

    async def committed(self, group: str, tp: TopicPartition) -> CommittedOffset:
        """The group's committed offset in one request: the broker waits for an open transaction."""
        async with opened(self.broker.admin()) as admin:
            return (await admin.committed(group, [tp]))[tp]

    async def read(
        self, tp: TopicPartition, end: int | None = None, offset: int = 0
    ) -> RecordBatch:
        """Read from ``offset`` until the last stable offset is ``end``; return the records."""
        if end is not None:
            await self.stable(tp, end)
        reader = await self.broker.reader()
        whole = RecordBatch(tp, offset, offset)
        until = await reader.last_stable_offset(tp)
        async for batch in read_range(reader, tp, offset, until, 7):
            assert batch.start == whole.end
            assert len(batch) <= 7
            for column in ("offsets", "timestamps", "keys", "values", "headers"):
                getattr(whole, column).extend(getattr(batch, column))
            whole.end = batch.end
        await reader.close()
        assert end is None or whole.end == end
        return whole

    def consumer(
        self, group: str, topics: Sequence[str], instance_id: str, offset: int | None = 0
    ) -> tuple[GroupConsumer, Recorder]:
        """A member that is not started, and the listener to start it with."""
        consumer = self.broker.consumer(group, topics, instance_id)
        self._consumers.append(consumer)
        return consumer, Recorder(consumer, offset)

    async def member(
        self, group: str, topics: Sequence[str], instance_id: str, offset: int | None = 0
    ) -> tuple[GroupConsumer, Recorder]:
        consumer, recorder = self.consumer(group, topics, instance_id, offset)
        await consumer.start(recorder)
        return consumer, recorder

    async def poll(
        self, consumer: GroupConsumer, tp: TopicPartition, until: int
    ) -> list[RecordBatch]:
        """Fetch batches of ``tp`` until the consumer's position is ``until``."""
        batches: list[RecordBatch] = []
        async with asyncio.timeout(PATIENCE_S):
            while consumer.position(tp) != until:
                fetched = await consumer.getmany(0.2, 1000)
                if tp in fetched:
                    batches.append(fetched[tp])
        return batches

    async def poll_until(self, consumers: Sequence[GroupConsumer], done: object) -> None:
        """Poll the members until ``done()`` is true."""
        assert callable(done)
        async with asyncio.timeout(PATIENCE_S):
            while not done():
                for consumer in consumers:
                    await consumer.getmany(0.05, 1000)

    async def close(self) -> None:
        for consumer in self._consumers:
            await consumer.stop()
        for producer in self._producers:
            await producer.close()


@pytest.fixture(scope="session")
def kafka_bootstrap(request: pytest.FixtureRequest) -> str:
    """Address of a real broker: from the environment, else of the local stack."""
    named = os.environ.get("DIA_KAFKA_BOOTSTRAP")
    return named or request.getfixturevalue("stack").kafka_bootstrap


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.stack)])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """The broker under test; its clients are closed after the test."""
    if request.param == "memory":
        broker: Broker = MemoryBroker(
            SystemClock(), session_timeout_s=SESSION_TIMEOUT_S, marker_delay_s=MARKER_DELAY_S
        )
    else:
        broker = KafkaBroker(
            request.getfixturevalue("kafka_bootstrap"),
            session_timeout_s=SESSION_TIMEOUT_S,
            request_timeout_s=10.0,
        )
    world = World(broker)
    yield world
    await world.close()
