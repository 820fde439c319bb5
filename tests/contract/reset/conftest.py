"""A line of one partition from a broker to shards, its worker, and ways to break it."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agents.app import AGGREGATE_METRICS, MODEL_METRICS, app
from streams.connect.broker.kafka.broker import KafkaBroker
from streams.connect.broker.log_range import decided_end
from streams.connect.broker.memory.broker import MemoryBroker
from streams.connect.broker.opened import opened
from streams.connect.sinks.memory import MemoryShards
from streams.core.clock import SystemClock
from streams.core.resilience.deadline import Deadline
from streams.core.rows.built_in_tables import epoch_of
from streams.core.settings import Settings
from streams.core.telemetry.metrics import Metrics
from streams.core.types import Broker, CommittedOffset, OutboundRecord, TopicPartition
from streams.engine.runtime.assignment import first_link, transactional_id
from streams.engine.runtime.restore.survey import survey
from streams.engine.runtime.worker import Worker
from streams.engine.state.changelog import pack
from streams.engine.state.rocksdb import RocksFolder
from streams.operate.reset.reset import Opening, look, open_epoch, reset
from streams.operate.topics.topics import wanted_topics

PATIENCE_S = 200.0
MARKER_DELAY_S = 0.03
"""Seconds between a commit and its markers in memory, as on a busy broker."""
SETTINGS = Settings(
    commit_interval_s=0.05,
    session_timeout_s=6.0,
    fetch_timeout_s=0.05,
    idle_close_s=0.2,
    grace_s=0,
    late_hold_s=0.05,
    emit_interval_s=0.05,
    rollup_interval_s=0.1,
    future_max_s=0,
)
METRICS = replace(MODEL_METRICS, name="reset.metrics")
"""A topic of this suite only: tests recreate it with one partition, and other files share the
broker."""
SOURCE = TopicPartition(METRICS.name, 0)


class Pipeline:
    """One partition from a broker to shards, its worker, and operations that damage it."""

    def __init__(self, broker: Broker, state: Path) -> None:
        self.broker = broker
        self.state = state
        self.settings = SETTINGS
        self.source = SOURCE
        self.clock = SystemClock()
        self.shards = MemoryShards(1, self.clock, tables=app.clickhouse_tables)
        self.agent = replace(
            AGGREGATE_METRICS, source=METRICS, group=f"reset-{uuid.uuid4().hex[:8]}"
        )
        self.changelog = TopicPartition(METRICS.changelog(self.agent.group), 0)
        self.sent = 0
        self.worker: Worker | None = None
        self._running: asyncio.Task[None] | None = None

    async def create(self, *names: str) -> None:
        """Delete the named topics and create them again, empty, with one partition."""
        wanted = wanted_topics(replace(app.topology, topics=(METRICS,)))
        configs = {METRICS.dlq: {}, self.changelog.topic: {}}
        configs |= {t.name: t.config for t in wanted}
        topics = [t for t in wanted if t.name == METRICS.dlq]
        admin = await self.broker.admin()
        await admin.delete_topics(names)
        await admin.create_topics(
            [replace(topics[0], name=n, partitions=1, config=configs[n]) for n in names]
        )
        await admin.close()

    async def produce(self, count: int) -> None:
        event = {
            "tenant_id": "t",
            "model_id": "m",
            "metric": "x",
            "ts": self.clock.now_ms() - 120_000,
            "value": 1.0,
        }
        ids = range(self.sent + 1, self.sent + 1 + count)
        values = [json.dumps({**event, "event_id": f"e{number}"}).encode() for number in ids]
        self.sent += count
        producer = self.broker.plain_producer()
        await producer.start()
        await (await producer.send_many(SOURCE.topic, [b"t"] * count, values))
        await producer.close()

    async def send(self, value: bytes) -> None:
        """Send one record; it may be no event."""
        producer = self.broker.plain_producer()
        await producer.start()
        await (await producer.send(SOURCE.topic, b"t", value))
        await producer.close()

    async def start(self, state: Path | None = None) -> None:
        folder = state or self.state
        self.worker = Worker(
            agents=[self.agent],
            broker=self.broker,
            shards=self.shards,
            stores=lambda group: RocksFolder(folder, group),
            clock=self.clock,
            settings=SETTINGS,
            metrics=Metrics(),
            instance_id="one",
        )
        self._running = asyncio.create_task(self.worker.run(lambda: None))

    async def stop(self) -> None:
        if self.worker is None or self._running is None:
            return
        await self.worker.drain(Deadline(self.clock, 20.0))
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
        self.worker = None

    async def until(self, done: Callable[[], Any]) -> None:
        assert self._running is not None
        async with asyncio.timeout(PATIENCE_S):
            while not done():
                assert not self._running.done(), self._running
                await asyncio.sleep(0.05)

    async def count(self, events: int) -> None:
        """Run until ``events`` events in all are visible and the worker has settled."""
        await self.until(lambda: self.visible() == events and self.settled)

    @property
    def settled(self) -> bool:
        assert self.worker is not None
        return self.worker.settled

    def visible(self, epoch: int | None = None) -> int:
        rows = self.shards.m1_rows()
        return sum(int(r["n"]) for r in rows if epoch is None or epoch_of(int(r["inc"])) == epoch)

    def ledger(self, epoch: int) -> Any:
        (row,) = [r for r in self.shards.rows("ledger") if r["epoch"] == epoch]
        return row

    async def stopped(self) -> str:
        """Run until the partition is stopped; return the error code."""
        assert self.worker is not None
        held = self.worker.groups[0].partitions
        await self.until(lambda: SOURCE in held and held[SOURCE].stopped_by)
        error = held[SOURCE].stopped_by
        assert error is not None
        return error.code

    async def planned(self, *, resume_at_start: bool = False) -> Opening:
        standing = await look(self.broker, self.agent.group, METRICS, 0, app.targets)
        return open_epoch(standing, resume_at_start=resume_at_start)

    async def reset(self, *, resume_at_start: bool = False) -> Opening:
        agreed = await self.planned(resume_at_start=resume_at_start)
        return await reset(self.broker, self.clock, agreed)

    async def survey(self) -> Any:
        async with opened(self.broker.reader()) as reader:
            return await survey(reader, self.changelog)

    async def committed(self) -> CommittedOffset:
        async with opened(self.broker.admin()) as admin:
            return (await admin.committed(self.agent.group, [SOURCE]))[SOURCE]

    # --- damage -------------------------------------------------------------------------------

    async def lose_changelog(self) -> None:
        await self.create(self.changelog.topic)

    async def tear_changelog(self) -> None:
        """Append a commit that does not follow the one before it."""
        last = (await self.survey()).last
        stray = msgspec.structs.replace(first_link(last.next_offset, bytes(16)), seq=last.seq + 2)
        producer = self.broker.transactional_producer(transactional_id(self.agent.group, SOURCE))
        await producer.start()
        await producer.begin()
        for data, _ in pack(stray, []):
            await (await producer.send(OutboundRecord(self.changelog, None, data)))
        await producer.commit()
        await producer.close()
        reader = await self.broker.reader()
        await decided_end(reader, self.changelog, self.clock)
        await reader.close()

    async def truncate_source(self) -> None:
        """Delete records from the source log that no worker has consumed."""
        await self.produce(5)
        admin = await self.broker.admin()
        await admin.delete_records({SOURCE: self.sent - 2})
        await admin.close()

    async def recreate_source(self) -> None:
        await self.create(SOURCE.topic)


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.stack)])
async def line(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Pipeline]:
    """A pipeline whose topics exist and are empty."""
    if request.param == "memory":
        broker: Broker = MemoryBroker(
            SystemClock(),
            session_timeout_s=SETTINGS.session_timeout_s,
            marker_delay_s=MARKER_DELAY_S,
        )
    else:
        broker = KafkaBroker(
            request.getfixturevalue("kafka_bootstrap"),
            session_timeout_s=SETTINGS.session_timeout_s,
        )
    made = Pipeline(broker, tmp_path / "state")
    await made.create(SOURCE.topic, METRICS.dlq, made.changelog.topic)
    yield made
    await made.stop()
