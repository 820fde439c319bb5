"""A harness for one partition (broker, disk and clock in memory) that runs the engine's steps one
at a time.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import pytest

from agents.app import AGGREGATE_METRICS, DIA_GROUP, MODEL_METRICS, app
from streams.connect.broker.memory.broker import MemoryBroker
from streams.connect.cache.memory import MemoryShared
from streams.connect.sinks.memory import MemoryShards
from streams.core.clock import VirtualClock, settle
from streams.core.settings import Settings
from streams.core.telemetry.metrics import Metrics
from streams.core.types import TopicPartition
from streams.engine.runtime.assignment import Opener
from streams.engine.runtime.commit.commit import commit
from streams.engine.runtime.partition.meters import PartitionMeters
from streams.engine.state.memory import MemoryDisk
from streams.operate.topics.topics import wanted_topics
from tests.unit.engine.runtime.dispatcher_desk import Desk
from tests.unit.engine.runtime.stream_desk import StreamDesk

SOURCE = TopicPartition(MODEL_METRICS.name, 0)
CHANGELOG = TopicPartition(MODEL_METRICS.changelog(DIA_GROUP), 0)
DLQ = TopicPartition(MODEL_METRICS.dlq, 0)
SETTINGS = Settings(changelog_slack_bytes=500, changelog_part_bytes=17_000, commit_timeout_s=4.0)


class Rig:
    """One process with its broker, disk and shards; `restart` starts the next process on the same
    host.
    """

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.broker = MemoryBroker(self.clock)
        self.shards = MemoryShards(2, self.clock, tables=app.clickhouse_tables)
        self.cache = MemoryShared(self.clock)
        self.disk = MemoryDisk()
        self.metrics = Metrics()
        self.settings = SETTINGS
        self.numbers = itertools.count()
        self.opened = None
        self.sinks = {}

    async def create_topics(self) -> None:
        admin = await self.broker.admin()
        await admin.create_topics(
            [replace(topic, partitions=1) for topic in wanted_topics(app.topology)]
        )

    async def produce(self, *values, key=b"t") -> None:
        producer = self.broker.plain_producer()
        for value in values:
            await (await producer.send(SOURCE.topic, key, value))

    async def produce_events(self, count, **fields) -> None:
        await self.produce(*(self.event(**fields) for _ in range(count)))

    def event(self, **fields) -> bytes:
        event = {
            "event_id": f"e{next(self.numbers)}",
            "tenant_id": "t",
            "model_id": "m",
            "metric": "x",
            "ts": self.clock.now_ms(),
            "value": 1.0,
        }
        return json.dumps({**event, **fields}).encode()

    def opener(self, disk=None) -> Opener:
        return Opener(
            broker=self.broker,
            stores=disk if disk is not None else self.disk,
            clock=self.clock,
            settings=self.settings,
            shards=self.shards,
            sinks=self.sinks,
        )

    async def open(self, disk=None, fenced=lambda: None):
        """Steps A1 to A4."""
        self.opened = await self.opener(disk).open(AGGREGATE_METRICS, SOURCE, fenced)
        return self.opened.partition

    @property
    def partition(self):
        return self.opened.partition

    async def fold(self) -> None:
        """Step C1 for all records of the source."""
        reader = await self.broker.reader()
        self.partition.fold(await reader.read(SOURCE, self.partition.progress.fold_offset))

    async def commit(self, producer=None) -> None:
        """Steps C2 to C4, counted in the metrics."""
        meters = PartitionMeters(self.metrics, SOURCE, self.clock)
        meters.opened(self.partition, 0.0, 0)
        prepared = self.partition.prepare([100, 100])
        meters.preparing(self.partition, prepared)
        await commit(
            self.partition,
            prepared,
            producer if producer is not None else self.opened.producer,
            self.clock,
            self.metrics,
            self.settings.commit_timeout_s,
        )
        meters.committed()

    async def commit_events(self, count, **fields) -> None:
        await self.produce_events(count, **fields)
        await self.fold()
        await self.commit()

    partition_dlq = DLQ
    opened_source = SOURCE

    def log(self, tp):
        return self.broker.log(tp)

    def contents(self, tp):
        """The committed records of the log."""
        log = self.broker.log(tp)
        return log.read_committed(log.start_offset, 1 << 30)

    async def recreate(self, topic) -> None:
        """Delete a topic with all its records, and create it again."""
        admin = await self.broker.admin()
        config = (await admin.describe_topics())[topic]
        await admin.delete_topics([topic])
        await admin.create_topics([config])


@pytest.fixture
async def rig():
    made = Rig()
    await made.create_topics()
    return made


@pytest.fixture
async def desk(rig):
    made = StreamDesk(rig)
    yield made
    made.close()
    await settle()


@pytest.fixture
def clock():
    """The clock of the dispatchers that `open_desk` opens."""
    return VirtualClock()


@pytest.fixture
async def open_desk(clock):
    """Opens dispatchers and closes them after the test."""
    opened = []

    def open_(**options):
        opened.append(Desk(clock, **options))
        return opened[-1]

    yield open_
    for desk in opened:
        desk.loop.cancel()
        await desk.dispatcher.close()
        await settle()
