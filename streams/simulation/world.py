"""A world of fakes: one broker, one set of shards, hosts with disks, and processes on them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from agents import ALL
from streams.agent import AgentSpec
from streams.broker.memory import MemoryBroker
from streams.runtime.deadline import Deadline
from streams.runtime.worker import Worker
from streams.settings import Settings
from streams.simulation.loop import LoopClock, VirtualLoop
from streams.sinks.memory import MemoryShards
from streams.telemetry.metrics import Metrics
from streams.topics import wanted_topics
from tables.memory import MemoryDisk


@dataclass(slots=True)
class World:
    """What survives the processes."""

    loop: VirtualLoop
    settings: Settings
    shard_count: int = 2
    agents: Sequence[AgentSpec] = ALL
    clock: LoopClock = field(init=False)
    broker: MemoryBroker = field(init=False)
    shards: MemoryShards = field(init=False)
    disks: dict[str, MemoryDisk] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.clock = LoopClock(self.loop)
        self.broker = MemoryBroker(self.clock, session_timeout_s=self.settings.session_timeout_s)
        self.shards = MemoryShards(
            self.shard_count, self.clock, retention_days=self.settings.m1_retention_days
        )

    async def create_topics(self) -> None:
        """Every topic of the topology."""
        admin = await self.broker.admin()
        await admin.create_topics(wanted_topics())
        await admin.close()

    def process(self, slot: str, host: str = "host") -> Process:
        """A worker process that is not started yet; processes of one host share its disk."""
        disk = self.disks.setdefault(host, MemoryDisk())
        worker = Worker(
            agents=self.agents,
            broker=self.broker,
            shards=self.shards,
            stores=lambda group: disk,
            clock=self.clock,
            settings=self.settings,
            metrics=Metrics(),
            instance_id=f"{host}-{slot}",
        )
        return Process(worker, self.clock)


@dataclass(slots=True)
class Process:
    """One worker process."""

    worker: Worker
    clock: LoopClock
    _task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start it and let it run."""
        joined = asyncio.Event()
        self._task = asyncio.create_task(self.worker.run(joined.set))
        await joined.wait()

    async def stop(self) -> None:
        """SIGTERM."""
        await self.worker.drain(Deadline(self.clock, 20.0))
        await self._end()

    async def kill(self) -> None:
        """kill -9: nothing of the process runs any more; what it left behind is the broker's."""
        await self._end()
        await self.worker.abandon()

    async def _end(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
