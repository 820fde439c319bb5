"""The engine alone: one worker in this process, with an in-memory Kafka and a real RocksDB. Rows
are acknowledged and dropped, so it measures what grows with state."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path

from agents.app import app
from streams.connect.broker.memory.broker import MemoryBroker
from streams.core import kernels
from streams.core.clock import Clock, SystemClock
from streams.core.process import process_memory
from streams.core.resilience.deadline import Deadline
from streams.core.settings import PREFIX, Settings, load
from streams.core.telemetry.logs import configure
from streams.core.telemetry.metrics import Metrics
from streams.core.types import TopicPartition
from streams.dev.bench.null_sink import NullShards
from streams.dev.workload.generator import EventBlock
from streams.engine.agents.job_agent import Agent
from streams.engine.runtime.worker import Worker
from streams.engine.state.rocksdb import RocksFolder
from streams.operate.topics.topics import wanted_topics

DRAIN_TIMEOUT_S = 30.0
POLL_S = 0.01
BLOCKS_AT_ONCE = 8
_NOWHERE = {
    "CLICKHOUSE_SHARDS": "http://null:1,http://null:2",
    "KAFKA_BOOTSTRAP": "memory:1",
}


@contextmanager
def settings_alone(given: Mapping[str, str]) -> Iterator[tuple[Settings, Path]]:
    """Settings of a process that has no dependencies, and its temporary folder. With kernels, as a
    worker has them."""
    configure("console", "error")
    process_memory.settle()
    with tempfile.TemporaryDirectory(prefix="dia-curve-") as folder:
        values = {**_NOWHERE, **given, "HOME": folder, "STATE_DIR": folder}
        settings, _ = load({PREFIX + name: value for name, value in values.items()})
        kernels.load(settings.kernels)
        yield settings, Path(folder)


class Engine:
    """`run` feeds it records and waits for their commit."""

    def __init__(
        self, broker: MemoryBroker, worker: Worker, clock: Clock, agent: Agent, partitions: int
    ) -> None:
        self._broker = broker
        self._clock = clock
        self._worker = worker
        self._agent = agent
        self._partitions = [TopicPartition(agent.source.name, n) for n in range(partitions)]
        changelog = agent.source.changelog(agent.group)
        self._changelogs = [TopicPartition(changelog, n) for n in range(partitions)]
        self._producer = broker.plain_producer()

    async def build(self, blocks: Iterable[EventBlock]) -> None:
        """A few at a time: each `run` waits for a commit."""
        rest = iter(blocks)
        while some := list(islice(rest, BLOCKS_AT_ONCE)):
            await self.run(some)

    async def run(self, blocks: Sequence[EventBlock]) -> float:
        """CPU seconds until all records are committed; then every log is emptied, so that the
        changelog does not count as the engine's memory."""
        for keys, values in blocks:
            await (await self._producer.send_many(self._agent.source.name, keys, values))
        began_s = time.process_time()
        await self._until(lambda: self._unread == 0)
        spent_s = time.process_time() - began_s
        admin = await self._broker.admin()
        logs = [*self._partitions, *self._changelogs]
        ends = {tp: self._broker.log(tp).high_watermark for tp in logs}
        await admin.delete_records(ends)
        await admin.close()
        return spent_s

    async def opened(self) -> None:
        await self._until(
            lambda: (
                (counts := self._worker.counts()) is not None
                and counts.ready == len(self._partitions)
            )
        )

    async def _until(self, reached: Callable[[], bool]) -> None:
        while not reached():
            await self._clock.sleep(POLL_S)

    @property
    def _unread(self) -> int:
        unread = 0
        for tp in self._partitions:
            committed = self._broker.committed(self._agent.group, tp)
            unread += self._broker.log(tp).high_watermark - (committed.offset if committed else 0)
        return unread


@asynccontextmanager
async def engine(
    settings: Settings, agent: Agent, partitions: int, folder: Path
) -> AsyncIterator[Engine]:
    """With the ``partitions`` of its agent's source; drained at the end."""
    clock = SystemClock()
    broker = MemoryBroker(clock, session_timeout_s=settings.session_timeout_s)
    admin = await broker.admin()
    await admin.create_topics(
        [replace(t, partitions=partitions) for t in wanted_topics(app.topology)]
    )
    await admin.close()
    worker = Worker(
        agents=[agent],
        broker=broker,
        shards=NullShards.from_settings(settings, clock, app.clickhouse_tables),
        stores=lambda group: RocksFolder(folder, group),
        clock=clock,
        settings=settings,
        metrics=Metrics(),
        instance_id="engine-0",
    )
    running = asyncio.create_task(worker.run(lambda: None))
    started = Engine(broker, worker, clock, agent, partitions)
    try:
        watched = asyncio.create_task(started.opened())
        await asyncio.wait({running, watched}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            await running
        yield started
    finally:
        await worker.drain(Deadline(clock, DRAIN_TIMEOUT_S))
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
