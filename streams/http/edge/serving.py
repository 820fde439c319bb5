"""`dia edge serve` as a process. A stop first closes the listener and answers pending requests;
then the publishers stop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog
from starlette.applications import Starlette

from streams.connect.access.attempts import Attempts
from streams.connect.access.authentication import Authenticator
from streams.connect.access.holds import HoldCheck
from streams.connect.access.last_uses import LastUses
from streams.connect.access.listening import Listening
from streams.connect.access.quotas import Quota, Quotas, RedisBuckets
from streams.connect.access.redis_holds import RedisHolds
from streams.connect.access.tokens import TokenFile
from streams.connect.access.web_server import WebServer
from streams.connect.broker.kafka.broker import KafkaBroker
from streams.connect.cache.process import BREAKER
from streams.connect.cache.redis import connect
from streams.connect.sinks.clickhouse import refuse_other_map
from streams.core.clock import Clock
from streams.core.degradation.degradation import Degradation
from streams.core.errors import CacheUnavailable
from streams.core.resilience.breaker import Breaker
from streams.core.settings import Settings
from streams.core.telemetry.metrics import Metrics
from streams.core.topics.topology import Topology
from streams.core.tracing.opening import CLOSE_TIMEOUT_S, tracer_of
from streams.core.tracing.tracer import UNTRACED, Tracer
from streams.core.types import Broker
from streams.engine.decode.codecs import with_margin
from streams.http.edge import shipment
from streams.http.edge.app import Edge
from streams.http.edge.body import BodyMemory
from streams.http.edge.edge_run import EdgeRun
from streams.http.edge.health_checks import edge_watch
from streams.http.edge.metrics.metric_intake import MetricIntake
from streams.http.edge.shipment import Shipper
from streams.http.edge.simulations import Simulations
from streams.http.edge.spool import Spool
from streams.http.edge.topic_publisher import PublisherBounds, TopicPublisher
from streams.http.edge.validator import Validator, topics_taken
from streams.http.region import RegionGate
from streams.http.serving import bound_surface

log = structlog.get_logger(__name__)


class EdgeProcess:
    """It locks its folders from the start."""

    def __init__(
        self,
        settings: Settings,
        topology: Topology,
        broker: Broker,
        clock: Clock,
        metrics: Metrics,
        tracer: Tracer = UNTRACED,
        *,
        behind_proxy: bool = False,
    ) -> None:
        """``behind_proxy``: the proxy names the client. Raises `SlotInUse`, `SpoolCorrupt`, and
        `UsageError` for unreadable tokens or regions."""
        tokens = TokenFile.of(settings.home_path(), settings.tokens_file)
        tokens.read()
        self.region = RegionGate.of(settings, topology, clock)
        self.metrics = metrics
        self.bug: BaseException | None = None
        self.on_bug: Callable[[], None] = lambda: None
        self._runs: list[EdgeRun] = []
        self._settings = settings
        self._simulations = Simulations(settings)
        bounds = PublisherBounds(settings.edge_inflight_bytes, settings.edge_spool_bytes)
        folder = settings.home_path() / "edge"
        lanes: dict[str, TopicPublisher] = {}
        try:
            for topic in topics_taken(topology):
                run = EdgeRun(folder / topic)
                self._runs.append(run)
                lanes[topic] = TopicPublisher(
                    topic,
                    shipper=Shipper(broker, topic, clock, tracer),
                    spool=_spool(folder / topic / "blocks", run),
                    run=run,
                    clock=clock,
                    metrics=metrics.edge,
                    bounds=bounds,
                )
        except BaseException:
            self.close()
            raise
        limits = with_margin(settings.future_max_s, settings.late_max_s)
        self.intake = Validator(topology, lanes, clock, limits, metrics.edge)
        self.degradation = Degradation(clock, metrics)
        self._watch = edge_watch(
            self.degradation, clock, self.intake, folder, settings.state_free_min_bytes
        )
        self.quotas, holds = _limits(settings, topology.app, clock, metrics)
        self._edge = Edge(
            authenticator=Authenticator(tokens, LastUses.of(settings.home_path(), tokens)),
            intake=self.intake,
            points=MetricIntake(settings, self.intake, metrics.edge),
            results=self._simulations,
            quotas=self.quotas,
            holds=holds,
            attempts=Attempts(clock),
            room=BodyMemory(settings.edge_inflight_bytes),
            clock=clock,
            metrics=metrics.edge,
            degradation=self.degradation,
            body_bytes_max=settings.edge_body_bytes,
            tracer=tracer,
            behind_proxy=behind_proxy,
            region=self.region,
        )

    def app(self) -> Starlette:
        """The application; the publishers run during its lifespan."""
        return self._edge.app(self._running)

    def close(self) -> None:
        self._simulations.close()
        for run in self._runs:
            run.close()

    @contextlib.asynccontextmanager
    async def _running(self, app: Starlette) -> AsyncIterator[None]:
        lanes = asyncio.create_task(self.intake.run(), name="lanes")
        watch = asyncio.create_task(self._watch.run(), name="health-watch")
        # Accepting events needs no shard and must not wait for one.
        asking = asyncio.create_task(refuse_other_map(self._settings), name="shard-map")
        edge = self._edge
        noting = asyncio.create_task(edge.authenticator.note_uses(edge.clock), name="last-uses")
        region = asyncio.create_task(self.region.run(), name="region-watch")
        running = (lanes, watch, asking, noting, region)
        for task in running:
            task.add_done_callback(self._ended)
        try:
            yield
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            await self.quotas.close()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        """An error in a background task, or another shard map, ends the process: answered events
        are durable, and the next run continues with them."""
        if not task.cancelled() and (bug := task.exception()) is not None:
            self.bug = bug
            self.on_bug()


def _limits(
    settings: Settings, app: str, clock: Clock, metrics: Metrics
) -> tuple[Quotas, HoldCheck]:
    """Shared through Redis with other edges and with workers, where there is one."""
    buckets, breaker, holds = None, None, HoldCheck()
    if settings.redis_url:
        client = connect(settings.redis_url, settings.redis_timeout_s, **settings.redis_options())
        buckets = RedisBuckets(client, "edge")
        breaker = Breaker("redis", BREAKER, (CacheUnavailable,), clock, metrics)
        holds = HoldCheck(RedisHolds(client, app), breaker)
    limits = {
        Quota.REQUESTS: settings.edge_requests,
        Quota.EVENTS: settings.edge_events,
        Quota.BYTES: settings.edge_bytes,
        Quota.SIMULATIONS: settings.edge_simulations,
        Quota.REFUSED_US: settings.edge_refused_ms * 1000,
    }
    return Quotas(clock, metrics.edge, limits=limits, buckets=buckets, breaker=breaker), holds


def _spool(folder: Path, run: EdgeRun) -> Spool:
    opened = Spool(folder, run.seed)
    if opened.cut_bytes:
        log.warning("edge_spool_cut", folder=str(folder), torn_bytes=opened.cut_bytes)
    return opened


def serve(
    settings: Settings, topology: Topology, listening: Listening, said: Callable[[str], None]
) -> None:
    """Serve until SIGTERM or SIGINT. ``said`` receives the address.

    Raises `RefusedBySafety` for an unsafe address, `AddressUnavailable` for one in use,
    `UsageError` for TLS files that do not fit, and the errors of `EdgeProcess`."""
    listening.require_safe()
    asyncio.run(_serve(settings, topology, listening, said))


async def _serve(
    settings: Settings, topology: Topology, listening: Listening, said: Callable[[str], None]
) -> None:
    # The broker aborts the open transaction of a dead edge, which blocks readers, later than a live
    # edge gives it up.
    patient = replace(settings, commit_timeout_s=shipment.SHIP_TIMEOUT_S)
    with bound_surface(settings, listening, "edge") as surface:
        clock, metrics = surface.clock, surface.metrics
        tracer = tracer_of(settings, "dia-edge", clock, metrics)
        process = EdgeProcess(
            *(settings, topology, KafkaBroker.from_settings(patient), clock, metrics, tracer),
            behind_proxy=listening.behind_tls,
        )
        process.degradation.on_change = surface.state.set_standing

        def made(server: WebServer) -> None:
            process.on_bug = server.stop

        try:
            await surface.serve(process.app(), said, made=made)
            if process.bug is not None:
                raise process.bug
        finally:
            process.close()
            await asyncio.to_thread(tracer.close, CLOSE_TIMEOUT_S)
