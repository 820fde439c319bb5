"""The composition root: settings and agents become a running process. Nothing else builds clients.

`App` is a `faust.App`: Faust hosts the process (supervision, shutdown, timers), while records go through our own runtime, which Faust starts and stops as one service.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any, TypeAlias

import faust
import structlog
from mode import Service

from streams import process_memory
from streams.broker.kafka import KafkaBroker
from streams.broker.kafka_security import KafkaSecurity
from streams.cache.process import ProcessCaches
from streams.clock import Clock, SystemClock
from streams.degradation.room import room_reading
from streams.errors import DependencyUnreachable, UsageError, WorkerStopped
from streams.file_modes import private_folder
from streams.health.monitor import HealthMonitor
from streams.health.observation import DECLARED
from streams.job_agent import Agent
from streams.listener import bound
from streams.local.live_workers import Worker as LiveWorker
from streams.local.live_workers import live_workers
from streams.rows import ShardSet
from streams.runtime.deadline import Deadline
from streams.runtime.identity import SlotLock, instance_id
from streams.runtime.status_file import StatusFile
from streams.runtime.worker import Worker
from streams.schedule.leader import SESSION_S, Candidate
from streams.schedule.ledger_audit import ledger_audit
from streams.settings import Settings
from streams.sinks import arrow
from streams.sinks.clickhouse import ClickHouseShards
from streams.telemetry.health import HealthServer, HealthState
from streams.telemetry.metrics import Metrics
from streams.tracing.opening import CLOSE_TIMEOUT_S, tracer_of
from streams.version import app_version
from tables.rocksdb import RocksFolder

_STATUS_INTERVAL_S = 0.25

ShardsOf: TypeAlias = Callable[[Settings, Clock], ShardSet]

log = structlog.get_logger(__name__)


class Runtime(Service):  # type: ignore[misc]  # mode ships no types
    """Everything of one process that dia runs, as one service of its host."""

    def __init__(
        self,
        settings: Settings,
        agents: Sequence[Agent],
        slot: int,
        shards: ShardsOf,
        drained: Callable[[], None],
        listener: socket.socket,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._shards_of = shards
        self._drained = drained
        self._listener = listener
        self._settings = settings
        self._agents = tuple(agents)
        self._slot = slot
        self._clock = SystemClock()
        self._metrics = Metrics(version=app_version(), process="worker")
        self._health = HealthState(self._clock)
        self._caches = ProcessCaches(settings, self._clock, self._metrics)
        self._tracer = tracer_of(settings, "dia-worker", self._clock, self._metrics)
        self._worker: Worker | None = None
        self._candidacy: asyncio.Task[None] | None = None

    async def on_start(self) -> None:
        """Answer probes, begin to join."""
        settings = self._settings
        state_dir = settings.state_path()
        private_folder(state_dir)
        self._server = HealthServer(self._health, self._metrics, self._clock, self._listener)
        http_port = await self._server.start()
        self._status = StatusFile(state_dir, self._slot, http_port)
        self._worker = Worker(
            agents=self._agents,
            broker=KafkaBroker.from_settings(settings),
            shards=self._shards_of(settings, self._clock),
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
        )
        self._caches.start()
        self._candidacy = self._stand_for_election()
        arrow.forgo_pandas()
        process_memory.settle()
        log.info("worker_started", pid=os.getpid(), slot=self._slot, http_port=http_port)

    @Service.task  # type: ignore[untyped-decorator]  # mode ships no types
    async def _process(self) -> None:
        """The engine; an error that leaves it ends the process."""
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
        """Stand for leading the scheduled jobs, if there are any."""
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
        if not settings.audit_interval_s:
            return None
        broker = KafkaBroker.from_settings(replace(settings, session_timeout_s=SESSION_S))
        health = HealthMonitor(
            broker,
            DECLARED,
            self._workers_here,
            self._clock,
            self._metrics.health,
            settings.state_path(),
        )
        candidate = Candidate(
            f"{instance_id(settings.state_path(), self._slot)}-leader",
            [ledger_audit(settings)],
            broker=broker,
            clock=self._clock,
            metrics=self._metrics,
            beside=health.run,
        )
        return asyncio.create_task(candidate.run(), name="candidacy")

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
        await self._worker.drain(Deadline(self._clock, self._settings.drain_timeout_s))
        await asyncio.to_thread(self._tracer.close, CLOSE_TIMEOUT_S)
        await self._caches.close()
        self._status.remove()
        await self._server.stop()
        log.info("worker_stopped", slot=self._slot)
        self._drained()


class App(faust.App):  # type: ignore[misc]  # follow_imports=skip: faust's own types do not check
    """A Faust application that runs dia's agents.

    ``agents`` are declared ones (`streams.agent.AgentSpec` or `streams.job_agent.JobAgent`); `batch_agent` declares one on the
    app itself, in Faust's manner.
    """

    def __init__(
        self,
        settings: Settings,
        agents: Iterable[Agent],
        *,
        slot: int = 0,
        shards: ShardsOf = ClickHouseShards.from_settings,
        **options: Any,
    ) -> None:
        if not settings.kafka_bootstrap:
            raise DependencyUnreachable(
                "no Kafka address is known. Start the local stack with `dia up`, or set "
                "DIA_KAFKA_BOOTSTRAP=host:port."
            )
        super().__init__(
            "dia-host",
            broker=[f"kafka://{address}" for address in settings.kafka_bootstrap.split(",")],
            broker_credentials=_credentials(KafkaSecurity.from_settings(settings)),
            datadir=str(settings.state_path() / "faust"),
            # Its server would listen on all addresses without authentication; ours does not.
            web_enabled=False,
            topic_partitions=1,
            autodiscover=False,
            **options,
        )
        self.settings = settings
        self.slot = slot
        self._shards_of = shards
        self._slot_lock: SlotLock | None = None
        self._listener: socket.socket | None = None
        self.on_drained: Callable[[], None] = lambda: None
        """called once all of ours is committed and closed; Faust may still be busy with its own"""
        self.specs: list[Agent] = list(agents)

    def take_slot(self) -> socket.socket:
        """Hold this process's slot and its health port until it ends; the bound port.

        Raises `SlotInUse` and `AddressUnavailable`.
        """
        if self._listener is None:
            first = self.settings.http_port
            port = first + self.slot if first else 0
            self._listener = bound(self.settings.http_host, port, "DIA_HTTP_PORT")
        if self._slot_lock is None:
            self._slot_lock = SlotLock(self.settings.state_path(), self.slot)
        return self._listener

    async def on_first_start(self) -> None:
        """Take the slot; Faust makes its own folder, but not the ones above it.

        Our runtime starts before Faust's own clients, one of which sleeps for a second. It stays
        the last of the services, so that it is the first to stop.
        """
        self.take_slot()
        await super().on_first_start()
        await self._runtime.start()

    def batch_agent(self, spec: Agent) -> Agent:
        """Run ``spec`` too."""
        self.specs.append(spec)
        return spec

    def on_init_dependencies(self) -> Iterable[Any]:
        """The services Faust starts with the app."""
        self._runtime = Runtime(
            self.settings,
            self.specs,
            self.slot,
            self._shards_of,
            self.on_drained,
            self.take_slot(),
            loop=self.loop,
            beacon=self.beacon,
        )
        return [*super().on_init_dependencies(), self._runtime]


def _first_stop(error: BaseException) -> WorkerStopped | None:
    """The first `WorkerStopped` kind in a group of errors."""
    if isinstance(error, WorkerStopped):
        return error
    inside = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    return next((found for one in inside if (found := _first_stop(one)) is not None), None)


def _credentials(security: KafkaSecurity) -> faust.auth.Credentials | None:
    """What Faust's own clients show to the broker: the same as ours."""
    context = security.tls.context() if security.encrypted else None
    if security.authenticated:
        return faust.SASLCredentials(
            username=security.user,
            password=security.password,
            mechanism=security.mechanism,
            ssl_context=context,
        )
    return faust.SSLCredentials(context=context) if context is not None else None


def chosen(names: str) -> list[Agent]:
    """The agents of a comma-separated list; "all" is every one. Raises `UsageError`."""
    declared: Sequence[Agent] = import_module("agents").ALL
    by_name = {spec.name: spec for spec in declared}
    wanted = list(by_name) if names == "all" else [n.strip() for n in names.split(",") if n.strip()]
    unknown = [name for name in wanted if name not in by_name]
    if unknown or not wanted:
        raise UsageError(
            f"no agent {', '.join(unknown) or 'given'}. Declared are: {', '.join(by_name)}."
        )
    return [by_name[name] for name in wanted]
