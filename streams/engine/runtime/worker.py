"""One worker process: its groups, deliveries and shutdown.

A worker starts with Kafka alone; while ClickHouse is away its rows wait in the state.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType

from streams.connect.access.holds import Holds
from streams.connect.cache.cache import SharedLayer
from streams.connect.sinks.delivery import Delivery
from streams.connect.sinks.rollup_queue import RollUpQueue
from streams.core.clock import Clock
from streams.core.degradation.degradation import Degradation
from streams.core.degradation.watch import Read
from streams.core.process.background_task import BackgroundTask
from streams.core.process.process_usage import ProcessUsage
from streams.core.resilience.deadline import Deadline
from streams.core.rows.built_in_tables import ShardSet
from streams.core.rows.row_sink import DeclaredSink
from streams.core.rows.targets import Targets
from streams.core.settings import Settings
from streams.core.settings.job_retries import job_retries
from streams.core.telemetry.health import PartitionCounts
from streams.core.telemetry.metrics import Metrics
from streams.core.tracing.tracer import UNTRACED, Tracer
from streams.core.types import Broker, StoreFactory
from streams.engine.agents.job_agent import Agent, JobAgent, Resources
from streams.engine.agents.stream_agent import StreamAgent
from streams.engine.health.host_scaling import ProcessChange
from streams.engine.runtime.assignment import Opener
from streams.engine.runtime.background import Background
from streams.engine.runtime.commit.handover import Handover
from streams.engine.runtime.effects.cache_writes import CacheWrites
from streams.engine.runtime.effects.sink_writes import SinkWrites
from streams.engine.runtime.global_view import GlobalView
from streams.engine.runtime.group import GroupMember
from streams.engine.runtime.jobs.dispatcher import Dispatcher
from streams.engine.runtime.jobs.request_log import RequestLog
from streams.engine.runtime.jobs.tenant_work import TenantWork
from streams.engine.runtime.map_watch import MapWatch
from streams.engine.runtime.shed_watch import ShedWatch
from streams.engine.runtime.vitals import Watched, health_watch, shard_calls, watch_shard
from streams.engine.streams.global_table import GlobalTable
from streams.engine.windows.fingerprint import Entropy


class Worker:
    """The engine of one process. The constructor starts nothing."""

    def __init__(
        self,
        *,
        agents: Sequence[Agent],
        broker: Broker,
        shards: ShardSet,
        stores: Callable[[str], StoreFactory],
        clock: Clock,
        settings: Settings,
        metrics: Metrics,
        instance_id: str,
        layer: SharedLayer | None = None,
        disk: Read | None = None,
        tracer: Tracer = UNTRACED,
        background: Sequence[BackgroundTask] = (),
        entropy: Entropy = os.urandom,
        sinks: Mapping[str, DeclaredSink] = MappingProxyType({}),
        holds: Holds | None = None,
        process: ProcessUsage | None = None,
    ) -> None:
        """``layer``: the cache in Redis. ``disk``: free space of the stores. ``entropy``: secrets of
        partitions without state. ``holds``: tells edges who waits. ``process``: whose usage is kept."""
        self.degradation = Degradation(clock, metrics)
        self._shards, self._clock = shards, clock
        self._sinks: list[asyncio.Task[None]] = []
        calls = partial(shard_calls, clock=clock, settings=settings)
        rows = {"batch_rows": settings.sink_batch_rows, "queue_rows": settings.sink_queue_rows}
        self._delivery = Delivery(shards, clock, metrics, **rows, calls=calls, tracer=tracer)
        self._roll_ups = RollUpQueue(shards, clock, metrics, interval_s=settings.rollup_interval_s)
        self._caches = CacheWrites(layer.shared if layer is not None else None, clock, metrics)
        self._sink_writes = SinkWrites(sinks.values(), settings, clock, metrics)
        queues = (self._delivery, self._roll_ups, clock, metrics, self._caches, self._sink_writes)
        targets = Targets(shards.tables, sinks)
        handover = Handover(targets, shards, *queues, self.degradation, tracer)
        self._tenants = TenantWork(clock, settings.quota_pool_s, holds)
        resources = Resources(settings, clock, metrics, layer)
        self._dispatchers = _dispatchers(agents, resources, self._tenants)
        self._request_log = RequestLog(broker, clock)
        self.groups = [
            GroupMember(
                group,
                {agent.source.name: agent for agent in agents if agent.group == group},
                broker=broker,
                opener=Opener(
                    broker=broker,
                    stores=stores(group),
                    clock=clock,
                    settings=settings,
                    shards=shards,
                    sinks=sinks,
                    dispatchers=self._dispatchers,
                    request_log=self._request_log,
                    entropy=entropy,
                    process=process or ProcessUsage(instance_id),
                    look_for_maps=self._look_for_maps,
                ),
                handover=handover,
                clock=clock,
                settings=settings,
                metrics=metrics,
                instance_id=instance_id,
            )
            for group in sorted({agent.group for agent in agents})
        ]
        self.background = Background(broker, clock, background, settings.region)
        self._views = [_connected(table, broker, clock) for table in _global_tables(agents)]
        self._sheds = ShedWatch(broker, clock, self.groups)
        watched = Watched(shards, self._delivery.calls, broker, self.groups, layer, disk)
        self._health = health_watch(self.degradation, clock, watched)
        self._maps = MapWatch(shards, clock, self.groups, self._grown)

    async def run(self, joined: Callable[[], None]) -> None:
        """Join every group and process records until `drain`; ``joined`` is called once.

        Raises `WorkerStopped` errors. Any other exception is a bug and ends the process; the next
        one continues from the last commit.
        """
        async with asyncio.TaskGroup() as tasks:
            await self._maps.look()  # before a partition opens
            self._sinks = [
                tasks.create_task(self._delivery.run(), name="delivery"),
                tasks.create_task(self._roll_ups.run(), name="roll-ups"),
                tasks.create_task(self._caches.run(), name="cache-writes"),
                tasks.create_task(self._sink_writes.run(), name="sink-writes"),
                tasks.create_task(self._health.run(), name="health-watch"),
                tasks.create_task(self._sheds.run(), name="shed-watch"),
                tasks.create_task(self._maps.run(), name="map-watch"),
                tasks.create_task(self.background.run(), name="background"),
                tasks.create_task(self._tenants.run(), name="tenant-holds"),
                *(tasks.create_task(view.run(), name="global-table") for view in self._views),
                *(
                    tasks.create_task(dispatcher.run(), name=f"dispatch-{name}")
                    for name, dispatcher in self._dispatchers.items()
                ),
            ]
            await asyncio.gather(*(group.start() for group in self.groups))
            joined()
            for group in self.groups:
                tasks.create_task(group.run(), name=f"group-{group.group}")

    async def _look_for_maps(self) -> None:
        await self._maps.look()

    def _grown(self) -> None:
        watched = len(self._delivery.calls)
        self._delivery.grow()
        for shard, calls in enumerate(self._delivery.calls[watched:], watched):
            watch_shard(self._health, self._shards, shard, calls, self._clock)

    async def drain(self, deadline: Deadline) -> None:
        await asyncio.gather(*(group.drain(deadline) for group in self.groups))
        await self._release()

    async def abandon(self) -> None:
        """Stop at once without a commit, as a crash does."""
        await asyncio.gather(*(group.close() for group in self.groups))
        await self._release()

    async def _release(self) -> None:
        for task in self._sinks:
            task.cancel()
        for dispatcher in self._dispatchers.values():
            await dispatcher.close()
        await self._request_log.close()
        await self._sink_writes.close()
        await self._tenants.close()
        await self._shards.close()

    @property
    def settled(self) -> bool:
        return all(group.settled for group in self.groups)

    @property
    def pool_changes(self) -> list[ProcessChange]:
        """Of the pools of its agents, oldest first."""
        found = [
            one for dispatcher in self._dispatchers.values() for one in dispatcher.pool_changes
        ]
        return sorted(found, key=lambda one: one.at_ms)

    def counts(self) -> PartitionCounts | None:
        """Number of partitions by phase; None until each group has an assignment."""
        counts = [group.counts() for group in self.groups]
        known = [count for count in counts if count is not None]
        if len(known) < len(counts):
            return None
        return PartitionCounts(*(sum(column) for column in zip(*known, strict=True)))


def _connected(table: GlobalTable, broker: Broker, clock: Clock) -> GlobalView:
    """Connected before the worker runs: a page then answers 503 until the table is read."""
    view = GlobalView(table, broker, clock)
    view.connect()
    return view


def _global_tables(agents: Sequence[Agent]) -> list[GlobalTable]:
    named = (table for one in agents if isinstance(one, StreamAgent) for table in one.global_tables)
    return list({table.name: table for table in named}.values())


def _dispatchers(
    agents: Sequence[Agent], resources: Resources, tenants: TenantWork
) -> dict[str, Dispatcher]:
    return {
        agent.name: Dispatcher(
            agent.performer(resources),
            resources.clock,
            resources.metrics,
            resources.settings.normal_share,
            job_retries(resources.settings.job_retries),
            tenants,
        )
        for agent in agents
        if isinstance(agent, JobAgent)
    }
