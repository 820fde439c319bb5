"""The composition root: builds all clients of a worker process from settings and an app."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import structlog
from mode import Service

from streams.connect.broker.kafka.broker import KafkaBroker
from streams.connect.cache.process import ProcessCaches
from streams.connect.schema_registry.connecting import connect_to
from streams.connect.sinks import arrow
from streams.core import kernels
from streams.core.clock import Clock, SystemClock
from streams.core.degradation.room import room_reading
from streams.core.errors import WorkerStopped
from streams.core.process import process_memory
from streams.core.process.background_task import BackgroundTask
from streams.core.process.file_modes import private_folder
from streams.core.process.listener import address_of
from streams.core.process.process_usage import ProcessUsage, usage_of_this_process
from streams.core.process.version import app_version
from streams.core.resilience.deadline import Deadline
from streams.core.rows.built_in_tables import ShardSet
from streams.core.rows.clickhouse_table import ClickHouseTable
from streams.core.settings import Settings
from streams.core.telemetry.health import HealthServer, HealthState
from streams.core.telemetry.metrics import Metrics
from streams.core.topics.topology import Topology
from streams.core.tracing.opening import CLOSE_TIMEOUT_S, tracer_of
from streams.engine.agents.job_agent import Agent
from streams.engine.health.live_workers import LiveWorker, live_workers
from streams.engine.health.monitor import HealthMonitor
from streams.engine.runtime.identity import instance_id
from streams.engine.runtime.status_file import StatusFile
from streams.engine.runtime.worker import Worker
from streams.engine.schedule.leader import SESSION_S, Candidate
from streams.engine.schedule.ledger_audit import ledger_audit
from streams.engine.schedule.scheduled_backup import scheduled_backup
from streams.engine.schedule.scheduled_drill import scheduled_drill
from streams.engine.schedule.scheduled_forecast import scheduled_forecast
from streams.engine.state.rocksdb import RocksFolder
from streams.engine.streams.page import Page

if TYPE_CHECKING:
    from streams.connect.access.redis_holds import RedisHolds
    from streams.engine.pages.serving import PageSite

_STATUS_INTERVAL_S = 0.25

ShardsOf: TypeAlias = Callable[[Settings, Clock, Mapping[str, ClickHouseTable]], ShardSet]

log = structlog.get_logger(__name__)


class Runtime(Service):  # type: ignore[misc]  # mode ships no types
    def __init__(
        self,
        settings: Settings,
        topology: Topology,
        agents: Sequence[Agent],
        slot: int,
        shards: ShardsOf,
        drained: Callable[[], None],
        listener: socket.socket,
        background: Sequence[BackgroundTask] = (),
        pages: Sequence[Page] = (),
        pages_listener: socket.socket | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._shards_of = shards
        self._drained = drained
        self._listener = listener
        self._settings = settings
        self._topology = topology
        self._agents = tuple(agents)
        self._background = tuple(background)
        self._pages = tuple(pages)
        self._pages_listener = pages_listener
        self._site: PageSite | None = None
        self._slot = slot
        self._clock = SystemClock()
        self._metrics = Metrics(version=app_version(), process="worker")
        self._health = HealthState(self._clock)
        self._caches = ProcessCaches(settings, self._clock, self._metrics)
        self._tracer = tracer_of(settings, "dia-worker", self._clock, self._metrics)
        self._worker: Worker | None = None
        self._candidacy: asyncio.Task[None] | None = None

    async def on_start(self) -> None:
        settings = self._settings
        # Load kernels during the rest of the start: partitions need them when they open.
        loading = asyncio.create_task(asyncio.to_thread(kernels.load, settings.kernels))
        state_dir = settings.state_path()
        private_folder(state_dir)
        connect_to(settings, self._topology.topics, self._clock, self._metrics)
        self._server = HealthServer(self._health, self._metrics, self._clock, self._listener)
        http_port = await self._server.start()
        pages = self._pages_listener
        pages_port = None if pages is None else address_of(pages)[1]
        self._status = StatusFile(state_dir, self._slot, http_port, pages_port)
        self._worker = Worker(
            agents=self._agents,
            broker=KafkaBroker.from_settings(settings),
            sinks=self._topology.targets.sinks,
            shards=self._shards_of(settings, self._clock, self._topology.targets.tables),
            stores=lambda group: RocksFolder(state_dir, group),
            clock=self._clock,
            settings=settings,
            metrics=self._metrics,
            instance_id=instance_id(state_dir, self._slot),
            layer=self._caches.layer,
            disk=room_reading(
                state_dir, settings.state_free_min_bytes, writable=lambda: self._status.written
            ),
            tracer=self._tracer,
            background=self._background,
            holds=self._holds(),
            process=ProcessUsage(
                instance_id(state_dir, self._slot), self._clock.now_ms(), usage_of_this_process
            ),
        )
        self._open_pages(state_dir)
        self._caches.start()
        self._candidacy = self._stand_for_election()
        self._tell_of_kernels(await loading)
        arrow.forgo_pandas()
        process_memory.settle()
        log.info("worker_started", pid=os.getpid(), slot=self._slot, http_port=http_port)

    def _tell_of_kernels(self, why_not: str) -> None:
        self._metrics.kernels.set(not why_not)
        if why_not and self._settings.kernels != "off":
            log.warning("kernels_not_loaded", why=why_not)

    def _open_pages(self, state_dir: Path) -> None:
        listener, worker, settings = self._pages_listener, self._worker, self._settings
        if listener is None or worker is None:
            return
        # A worker without pages does not need the packages of a web server.
        from streams.engine.pages.desk import PageDesk  # noqa: PLC0415
        from streams.engine.pages.group_members import GroupMembers  # noqa: PLC0415
        from streams.engine.pages.owners import KnownWorkers, WorkersHere  # noqa: PLC0415
        from streams.engine.pages.serving import PageSite  # noqa: PLC0415

        others = KnownWorkers(
            WorkersHere(state_dir, self._slot, settings.pages_host),
            GroupMembers(KafkaBroker.from_settings(settings), self._clock),
            settings.pages_peers,
            settings.pages_port,
        )
        parts = (self._pages, self._agents, worker.groups, worker.background, self._clock, others)
        self._site = PageSite(PageDesk(*parts), listener, settings, self._clock, self._metrics)
        self._site.start()

    @Service.task  # type: ignore[untyped-decorator]  # mode ships no types
    async def _process(self) -> None:
        assert self._worker is not None
        try:
            await self._worker.run(joined=self._health.mark_started)
        except BaseExceptionGroup as group:
            stopped = _first_stop(group)
            if stopped is None:
                raise
            log.critical("worker_refused", code=stopped.code, why=str(stopped))
            raise stopped from None

    @Service.task  # type: ignore[untyped-decorator]  # mode ships no types
    async def _schedule(self) -> None:
        if self._candidacy is not None:
            await asyncio.wait({self._candidacy})
            if not self._candidacy.cancelled():
                self._candidacy.result()

    @Service.task  # type: ignore[untyped-decorator]  # mode ships no types
    async def _report(self) -> None:
        assert self._worker is not None
        while not self.should_stop:
            self._health.set_partitions(self._worker.counts())
            self._health.set_standing(self._worker.degradation.standing)
            self._health.set_status(self._status.write(self._worker))
            await self.sleep(_STATUS_INTERVAL_S)

    def _stand_for_election(self) -> asyncio.Task[None] | None:
        settings = self._settings
        jobs = [ledger_audit(settings)] if settings.audit_interval_s else []
        if settings.forecast_interval_s:
            jobs.append(scheduled_forecast(settings, self._clock, self._metrics))
        if settings.backup_to:
            jobs.append(scheduled_backup(settings, self._clock, self._metrics))
            jobs.append(scheduled_drill(settings, self._clock, self._metrics))
        if not jobs:
            return None
        broker = KafkaBroker.from_settings(replace(settings, session_timeout_s=SESSION_S))
        health = HealthMonitor(
            broker,
            self._topology.read,
            self._workers_here,
            self._clock,
            self._metrics.health,
            settings.state_path(),
        )
        candidate = Candidate(
            f"{instance_id(settings.state_path(), self._slot)}-leader",
            jobs,
            self._topology,
            broker=broker,
            clock=self._clock,
            metrics=self._metrics,
            beside=health.run,
            leaves=bool(settings.leave_group),
        )
        return asyncio.create_task(candidate.run(), name="candidacy")

    def _holds(self) -> RedisHolds | None:
        settings = self._settings
        if not settings.redis_url:
            return None
        # A worker without Redis does not load its client.
        from streams.connect.access.redis_holds import RedisHolds  # noqa: PLC0415
        from streams.connect.cache.redis import connect  # noqa: PLC0415

        client = connect(settings.redis_url, settings.redis_timeout_s, **settings.redis_options())
        return RedisHolds(client, self._topology.app)

    async def _workers_here(self) -> Sequence[LiveWorker]:
        return await asyncio.to_thread(live_workers, self._settings.state_path())

    async def on_stop(self) -> None:
        """SIGTERM: drain within the deadline."""
        self._health.mark_draining()
        if self._worker is None:
            return
        if self._candidacy is not None:
            self._candidacy.cancel()
            await asyncio.gather(self._candidacy, return_exceptions=True)
        if self._site is not None:
            await self._site.stop()
        await self._worker.drain(Deadline(self._clock, self._settings.drain_timeout_s))
        await asyncio.to_thread(self._tracer.close, CLOSE_TIMEOUT_S)
        await self._caches.close()
        self._status.remove()
        await self._server.stop()
        log.info("worker_stopped", slot=self._slot)
        self._drained()


def _first_stop(error: BaseException) -> WorkerStopped | None:
    if isinstance(error, WorkerStopped):
        return error
    inside = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    return next((found for one in inside if (found := _first_stop(one)) is not None), None)
