"""A simulated world: one broker, one set of shards, hosts with disks, and processes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from hashlib import sha256
from random import Random
from typing import Any, NoReturn, Protocol, Self

from streams.connect.broker.memory.admin import MemoryAdmin
from streams.connect.broker.memory.broker import MemoryBroker
from streams.connect.broker.memory.cluster import Cluster
from streams.connect.broker.memory.reader import MemoryReader
from streams.connect.cache.memory import MemoryShared
from streams.connect.cache.process import shared_layer
from streams.connect.sinks.memory import MemoryShards, rows_of
from streams.connect.sinks.memory_replica import Row
from streams.core.degradation.level import FINE, Reading
from streams.core.errors import BrokerUnavailable, RollUpExpired
from streams.core.process.background_task import BackgroundTask
from streams.core.resilience.deadline import Deadline
from streams.core.rows.built_in_tables import Bucket, Rows, RowsRefused
from streams.core.rows.targets import Targets
from streams.core.settings import Settings
from streams.core.telemetry.metrics import Metrics
from streams.core.topics.topology import Topology
from streams.core.types import TopicPartition
from streams.dev.simulation.loop import LoopClock, VirtualLoop
from streams.engine.agents.job_agent import Agent
from streams.engine.app.loading import BUILT_IN, load_app
from streams.engine.runtime.effects.effects import RollUp
from streams.engine.runtime.identity import member_id
from streams.engine.runtime.worker import Worker
from streams.engine.state.memory import Entries, MemoryDisk, MemoryStore
from streams.engine.state.memory_files import MemoryFiles
from streams.engine.windows.fingerprint import Entropy
from streams.operate.topics.topics import wanted_topics

DRAIN_TIMEOUT_S = 20.0


class Mortal(Protocol):
    """A process that a fault may kill."""

    @property
    def alive(self) -> bool: ...

    def die(self) -> NoReturn: ...


current_process: ContextVar[Mortal | None] = ContextVar("current_process", default=None)
"""of the running task, for faults that kill it"""


class Killed(BaseException):
    """Ends the task of a killed process; the engine must not catch it."""


@dataclass(slots=True)
class World:
    """What outlives the processes. ``agents`` run in every process; every topic has ``partitions``.

    Brokers share a clock and all other machines another; both start at ``start_ms``. Source logs
    begin at offset ``first_offset``."""

    loop: VirtualLoop
    settings: Settings
    agents: Sequence[Agent]
    shard_count: int = 2
    partitions: int = 2
    topology: Topology = field(default_factory=lambda: load_app(BUILT_IN).topology)
    start_ms: int = 1_760_000_000_000
    first_offset: int = 0
    background: Sequence[BackgroundTask] = ()
    replicas: int = 1
    """of every shard"""
    targets: Targets = field(default_factory=lambda: load_app(BUILT_IN).targets)
    """where rows of the agents may go"""
    clock: LoopClock = field(init=False)
    broker_clock: LoopClock = field(init=False)
    broker: WatchedBroker = field(init=False)
    shards: WatchedShards = field(init=False)
    cache: MemoryShared = field(init=False)
    entropy: Entropy = field(default_factory=lambda: Random(0).randbytes)
    disks: dict[str, HostDisk] = field(default_factory=dict)
    readings: dict[str, Reading] = field(default_factory=dict)
    """forced readings of a host's free disk space"""

    def __post_init__(self) -> None:
        self.clock = LoopClock(self.loop, self.start_ms)
        self.broker_clock = LoopClock(self.loop, self.start_ms)
        self.loop.set_exception_handler(_unless_killed)
        self.broker = WatchedBroker(
            self.broker_clock, session_timeout_s=self.settings.session_timeout_s
        )
        self.cache = MemoryShared(self.clock)
        self.shards = WatchedShards(
            self.shard_count,
            self.clock,
            retention_days=self.settings.m1_retention_days,
            replicas=self.replicas,
            tables=self.targets.tables,
        )

    async def create_topics(self) -> None:
        admin = await self.broker.admin()
        topics = wanted_topics(self.topology)
        await admin.create_topics([replace(t, partitions=self.partitions) for t in topics])
        await admin.close()
        for source in {agent.source.name for agent in self.agents}:
            for partition in range(self.partitions):
                self.broker.log(TopicPartition(source, partition)).start_offset = self.first_offset

    def jump_clocks(self, delta_ms: int) -> None:
        self.clock.jump_wall(delta_ms)
        self.broker_clock.jump_wall(delta_ms)

    def process(self, slot: int, host: str = "host", shards: MemoryShards | None = None) -> Process:
        """Unstarted; processes of one host share its disk. ``shards`` defaults to the world's."""
        disk = self.disks.setdefault(host, HostDisk())
        metrics = Metrics()
        worker = Worker(
            agents=self.agents,
            broker=self.broker,
            shards=shards or self.shards.view(),
            stores=lambda group: disk,
            clock=self.clock,
            settings=self.settings,
            metrics=metrics,
            instance_id=f"{host}-{slot}",
            background=self.background,
            layer=shared_layer(self.cache, self.clock, metrics),
            disk=lambda: self.readings.get(host, FINE),
            entropy=self.entropy,
            sinks=self.targets.sinks,
        )
        return Process(slot, host, [agent.source.name for agent in self.agents], worker, self.clock)


@dataclass(slots=True, eq=False)
class Process:
    slot: int
    host: str
    topics: Sequence[str]
    worker: Worker
    clock: LoopClock
    alive: bool = False
    _task: asyncio.Task[None] | None = None
    _death: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        """Its group.instance.id."""
        return member_id(f"{self.host}-{self.slot}", self.topics)

    def start(self) -> None:
        self.alive = True
        token = current_process.set(self)
        self._task = asyncio.create_task(self.worker.run(lambda: None))
        current_process.reset(token)

    async def stop(self) -> None:
        await self.worker.drain(Deadline(self.clock, DRAIN_TIMEOUT_S))
        await self.kill()

    async def kill(self) -> None:
        """kill -9: sessions and transactions stay with the broker."""
        self.alive = False
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self.worker.abandon()

    def die(self) -> NoReturn:
        """kill -9 from inside: ends the running task."""
        if self.alive:
            self.alive = False
            self._death = asyncio.get_running_loop().create_task(self.kill())
        raise Killed

    @property
    def failure(self) -> BaseException | None:
        if not self.alive or self._task is None or not self._task.done():
            return None
        return None if self._task.cancelled() else self._task.exception()


def all_are(failure: BaseException, *kinds: type[BaseException]) -> bool:
    """Whether ``failure``, or of a group each error in it, is of one of ``kinds``."""
    if isinstance(failure, BaseExceptionGroup):
        return all(all_are(one, *kinds) for one in failure.exceptions)
    return isinstance(failure, kinds)


def _unless_killed(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Ignore unretrieved exceptions of killed processes."""
    if not isinstance(context.get("exception"), Killed):
        loop.default_exception_handler(context)


async def die_here() -> None:
    """Kills the running process; no effect outside one."""
    process = current_process.get()
    if process is not None:
        process.die()


class Watcher(Protocol):
    def inserted(self, chunks: Sequence[Rows]) -> None: ...

    def recomputing(self, bucket: RollUp) -> Callable[[], None]: ...


class WatchedShards(MemoryShards):
    """Report every call and record refused rows."""

    _watcher: Watcher | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.refused: list[tuple[str, Row]] = []
        """table and row, in the order of the inserts"""

    def watch(self, watcher: Watcher | None) -> None:
        self._watcher = watcher

    def unwatched(self) -> Self:
        """As `view`, for a process whose rows are not of one commit."""
        seen = self.view()
        seen.watch(None)
        return seen

    async def insert(self, shard: int, chunks: Sequence[Rows]) -> None:
        if self._watcher is not None:
            self._watcher.inserted(chunks)
        try:
            await super().insert(shard, chunks)
        except RowsRefused as refusal:
            rows = rows_of(chunks)
            self.refused += [rows[index] for index in refusal.indexes]
            raise

    async def roll_up(self, shard: int, table: Bucket, start_s: int) -> None:
        watcher, bucket = self._watcher, RollUp(shard, table, start_s)
        done = watcher.recomputing(bucket) if watcher is not None else _nothing
        try:
            await super().roll_up(*bucket)
        except RollUpExpired:
            done()  # no process can do it any more
            raise
        done()


def _nothing() -> None:
    """The default without a watcher."""


class HostDisk(MemoryDisk):
    """A process may die just before or after its next write."""

    def __init__(self) -> None:
        super().__init__()
        self.die_before_write = False
        self.die_after_write = False

    def left_by_a_kill(self, tp: TopicPartition) -> Entries | None:
        """What a kill of the running process would leave here; None where another process opened
        the partition last."""
        store, process = self.stores.get(tp), current_process.get()
        if not isinstance(store, _MortalStore) or process is None or store.owner is not process:
            return None
        return store.on_disk

    def _opened(self, on_disk: Entries, files: MemoryFiles) -> MemoryStore:
        return _MortalStore(on_disk, files, self)


class _MortalStore(MemoryStore):
    def __init__(self, on_disk: Entries, files: MemoryFiles, disk: HostDisk) -> None:
        super().__init__(on_disk, files)
        self._disk = disk
        self.owner = current_process.get()

    def close(self) -> None:
        if self.owner is not None and not self.owner.alive:
            self.lose()
        super().close()

    def write(self, entries: Iterable[tuple[bytes, bytes | None]]) -> None:
        process = current_process.get()
        if self._disk.die_before_write and process is not None:
            self._disk.die_before_write = False
            process.die()
        super().write(entries)
        if self._disk.die_after_write and process is not None:
            self._disk.die_after_write = False
            process.die()


class TrimWatcher(Protocol):
    def trimming(self, log: TopicPartition, before: int) -> None: ...


class WatchedBroker(MemoryBroker):
    trim_watcher: TrimWatcher | None = None
    cut_off: Process | None = None
    """a process that opens no connection for single calls and reads"""

    async def admin(self) -> MemoryAdmin:
        self._refuse_cut_off()
        return _WatchedAdmin(self._cluster, self.trim_watcher)

    async def reader(self) -> MemoryReader:
        self._refuse_cut_off()
        return await super().reader()

    def _refuse_cut_off(self) -> None:
        process = current_process.get()
        if process is not None and process is self.cut_off:
            raise BrokerUnavailable("this process is cut off from the brokers")


class _WatchedAdmin(MemoryAdmin):
    def __init__(self, cluster: Cluster, watcher: TrimWatcher | None) -> None:
        super().__init__(cluster)
        self._watcher = watcher

    async def delete_records(self, before: Mapping[TopicPartition, int]) -> None:
        if self._watcher is not None:
            for log, offset in before.items():
                self._watcher.trimming(log, offset)
        await super().delete_records(before)


def trace_of(world: World) -> str:
    """Turns of the loop, and a digest of all logs and shards."""
    digest = sha256()
    for tp in world.broker.partitions():
        log = world.broker.log(tp)
        digest.update(f"{tp} {log.start_offset} {log.high_watermark}".encode())
        batch = log.readable()
        digest.update(repr(batch).encode())
    for table in world.shards.stored_tables:
        for shard in range(world.shards.count):
            digest.update(repr(world.shards.rows(table, shard)).encode())
    return f"{world.loop.turns} steps, {digest.hexdigest()}"


class Difference(AssertionError):  # noqa: N818 - what was found
    """The result does not match the input."""
