"""`dia console` as a process: wiring, listening and stop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from starlette.applications import Starlette

from streams.connect.access.attempts import Attempts
from streams.connect.access.authentication import Authenticator
from streams.connect.access.last_uses import LastUses
from streams.connect.access.listening import Listening, is_loopback
from streams.connect.access.request_rate import RequestRate
from streams.connect.access.tokens import TokenFile
from streams.connect.broker.kafka.broker import KafkaBroker
from streams.connect.cache.process import ProcessCaches
from streams.connect.oidc.configuration import read_configuration
from streams.connect.sinks.clickhouse import refuse_other_map
from streams.core.clock import Clock
from streams.core.errors import RefusedBySafety
from streams.core.settings import Settings
from streams.core.telemetry.metrics import Metrics
from streams.core.topics.topology import Topology
from streams.core.types import Broker
from streams.engine.app.app import App
from streams.engine.app.window_views import window_views
from streams.engine.health.live_workers import LiveWorker
from streams.engine.health.monitor import HealthMonitor
from streams.engine.health.remote_workers import RemoteWorkers
from streams.http.console.access.authorizer import Authorizer
from streams.http.console.access.operations import Operations
from streams.http.console.access.saved_views import ViewFile
from streams.http.console.access.sessions import SessionStore
from streams.http.console.addition import NOTHING_ADDED, ConsoleAddition
from streams.http.console.admin_handlers import CacheHandler, PolicyHandler
from streams.http.console.app import Console, console_app
from streams.http.console.capacity.forecast_runs import ForecastRuns, predicting
from streams.http.console.capacity.handler import CapacityHandler
from streams.http.console.catalog import CatalogHandler
from streams.http.console.dead_letters.decisions import DecisionHandler
from streams.http.console.dead_letters.journals import recent_journals
from streams.http.console.dead_letters.letters import DeadLetterHandler
from streams.http.console.dead_letters.plans import PlanHandler
from streams.http.console.history.history_handler import HistoryHandler
from streams.http.console.history.recorder import PipelineRecorder
from streams.http.console.history.top_tenants import TopTenantsHandler
from streams.http.console.kept_running import kept_running
from streams.http.console.logs import Logs
from streams.http.console.pages import routes, unknown_page
from streams.http.console.pipeline.level import Levels
from streams.http.console.pipeline.overview import OverviewHandler
from streams.http.console.pipeline.pipeline import PipelineHandler
from streams.http.console.pipeline.services import Services
from streams.http.console.pipeline.workers import Workers
from streams.http.console.ranges import RangeHandler
from streams.http.console.ranking import RankingHandler
from streams.http.console.response_cache import ResponseCache
from streams.http.console.series import SeriesHandler
from streams.http.console.shards import ShardReader
from streams.http.console.shedding import SheddingHandler
from streams.http.console.simulations import SimulationHandler, simulation_agent
from streams.http.console.stored_data import StoredDataHandler
from streams.http.console.topics.handlers import TopicHandlers
from streams.http.console.training import TrainingHandler
from streams.http.console.views import ViewHandler
from streams.http.console.waiting import WaitingRequests
from streams.http.console.windows import WindowsHandler
from streams.http.region import RegionGate
from streams.http.serving import bound_surface

if TYPE_CHECKING:
    from streams.connect.oidc.provider import OidcProvider

RATE_PERIOD_S = 60.0
SIGN_INS_MAX = 30
"""of one token within `RATE_PERIOD_S`"""
STOP_TIMEOUT_S = 3
"""Page streams would last a minute; a request cut off here has changed nothing, or everything."""


class ConsoleProcess:
    """It connects to nothing before the first request. ``secure``: browsers use TLS;
    ``behind_proxy``: through a proxy."""

    def __init__(
        self,
        settings: Settings,
        app: App,
        broker: Broker,
        clock: Clock,
        metrics: Metrics,
        *,
        secure: bool = False,
        behind_proxy: bool = False,
        addition: ConsoleAddition = NOTHING_ADDED,
    ) -> None:
        """Raises `UsageError` for unreadable tokens, secrets or regions."""
        topology, agents, at = app.topology, tuple(app.agents.values()), (settings, clock)
        simulating, home = simulation_agent(app), settings.home_path()
        tokens = TokenFile.of(home, settings.tokens_file)
        tokens.read()
        region = RegionGate.of(settings, topology, clock, metrics.regions)
        self._addition, self._caches = addition, ProcessCaches(settings, clock, metrics)
        layer = self._caches.layer
        self._distant = distant = RemoteWorkers(settings.workers_at, clock)
        self._workers = workers = Workers(settings.state_path(), settings.http_host, clock, distant)
        levels = Levels(workers, clock)
        self._shards = shards = ShardReader(settings, clock, metrics, levels.away)
        self._answers = answers = ResponseCache(layer, clock, metrics)
        operations = Operations(home / "access", clock, lambda: levels.read_only)
        gate = _authorizer(settings, tokens, clock, secure=secure, behind_proxy=behind_proxy)
        self._services = services = Services(shards, broker, layer, clock)
        self._health = health = HealthMonitor(
            broker, topology.read, self._known_workers, clock, metrics.health, settings.state_path()
        )
        self._logs = logs = Logs(broker, clock)
        self._journals = journals = recent_journals(topology, logs, clock)
        self._recorder = recorder = PipelineRecorder(workers, services, health, clock)
        self._waiting = waiting = WaitingRequests(simulating, broker, logs, shards, clock)
        windows = WindowsHandler(gate, window_views(app, settings))
        letters = DeadLetterHandler(gate, topology, answers, broker, logs, journals, *at)
        self.console = Console(
            gate=gate,
            windows=windows,
            series=SeriesHandler(gate, windows, shards, answers, clock),
            ranges=RangeHandler(gate, windows, shards, answers, clock),
            ranking=RankingHandler(gate, windows, shards, answers, clock),
            catalog=CatalogHandler(gate, windows, shards, answers),
            overview=OverviewHandler(
                gate, shards, answers, workers, services, clock, levels, health, recorder.freshness
            ),
            simulations=SimulationHandler(
                *(gate, simulating, shards, answers, workers, waiting, broker, operations, clock)
            ),
            training=TrainingHandler(gate, shards, answers),
            stored_data=StoredDataHandler(gate, shards, answers, settings, region),
            capacity=_capacity(gate, shards, answers, settings, topology, clock, workers),
            history=HistoryHandler(gate, recorder, broker, agents, journals, clock),
            top_tenants=TopTenantsHandler(gate, shards, answers, clock),
            pipeline=PipelineHandler(gate, shards, answers, workers, agents, health, recorder.busy),
            letters=letters,
            plans=PlanHandler(gate, topology, letters, broker, journals, operations, *at),
            decisions=DecisionHandler(gate, topology, letters, broker, journals, operations, clock),
            shedding=SheddingHandler(gate, broker, agents, operations, clock),
            logs=TopicHandlers.of(gate, app, settings, broker, logs, operations, clock),
            caches=CacheHandler(gate, layer, operations),
            policies=PolicyHandler(gate, layer, operations, clock),
            views=ViewHandler(gate, ViewFile(home / "access" / "views.json", tokens), clock),
            topics=tuple(app.topics),
            pages=(*app.pages, *addition.pages, *windows.pages),
            clock=clock,
            metrics=metrics.console,
            region=region,
        )

    def app(self) -> Starlette:
        added = self._addition.routes(self.console.gate)
        return console_app(
            self.console,
            pages=routes,
            added=added,
            unknown=unknown_page,
            lifespan=self._running,
        )

    @contextlib.asynccontextmanager
    async def _running(self, app: Starlette) -> AsyncIterator[None]:
        self._caches.start()
        gate, clock = self.console.gate, self.console.gate.clock
        works: dict[str, Callable[[], Awaitable[None]]] = {
            "answers": self._answers.run,
            "distant-workers": self._distant.run,
            "health-monitor": self._health.run,
            "pipeline-recorder": self._recorder.run,
            "last-uses": lambda: gate.authenticator.note_uses(clock),
            "region-watch": self.console.region.run,
        }
        running = [
            asyncio.create_task(kept_running(name, run, clock), name=name)
            for name, run in works.items()
        ]
        try:
            yield
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            await self._answers.close()
            for part in (
                self.console.overview,
                self.console.history,
                self._health,
                self._workers,
                self._services,
                self.console.letters,
                self.console.logs,
                self._journals,
                self._logs,
            ):
                await part.close()
            await self._caches.close()
            await self._shards.close()
            if self.console.gate.provider is not None:
                await self.console.gate.provider.close()

    async def _known_workers(self) -> Sequence[LiveWorker]:
        return await asyncio.to_thread(self._workers.live)


def _authorizer(
    settings: Settings, tokens: TokenFile, clock: Clock, *, secure: bool, behind_proxy: bool
) -> Authorizer:
    return Authorizer(
        authenticator=Authenticator(tokens, LastUses.of(settings.home_path(), tokens)),
        sessions=SessionStore(clock),
        clock=clock,
        rate=RequestRate(clock, limit=settings.console_requests, period_s=RATE_PERIOD_S),
        sign_ins=RequestRate(clock, limit=SIGN_INS_MAX, period_s=RATE_PERIOD_S),
        provider=_provider(settings, clock),
        attempts=Attempts(clock),
        secure=secure,
        behind_proxy=behind_proxy,
    )


def _provider(settings: Settings, clock: Clock) -> OidcProvider | None:
    wanted = read_configuration(settings.oidc_file)
    if wanted is None:
        return None
    from streams.connect.oidc.provider import OidcProvider

    return OidcProvider(wanted, clock)


def _capacity(
    gate: Authorizer,
    shards: ShardReader,
    answers: ResponseCache,
    settings: Settings,
    topology: Topology,
    clock: Clock,
    workers: Workers,
) -> CapacityHandler:
    forecasts = ForecastRuns(predicting(settings), clock)
    return CapacityHandler(gate, shards, answers, settings, topology, clock, workers, forecasts)


def serve(
    settings: Settings,
    app: App,
    listening: Listening,
    said: Callable[[str], None],
    addition: ConsoleAddition = NOTHING_ADDED,
) -> None:
    """Serve until SIGTERM or SIGINT. ``said`` receives the address.

    Raises `RefusedBySafety` for an unsafe address, or one beyond loopback without tokens;
    `AddressUnavailable` for one in use; `UsageError` for TLS files that do not fit;
    `ShardMapChanged` when another shard map filled a shard."""
    listening.require_safe()
    tokens = TokenFile.of(settings.home_path(), settings.tokens_file)
    sign_in = tokens.read() or settings.oidc_file
    if not sign_in and not is_loopback(listening.host):
        raise RefusedBySafety(
            f"listening on {listening.host} without any token is refused: every request would fail or come from an "
            "attacker. `dia token create --role admin` makes one."
        )
    asyncio.run(_serve(settings, app, listening, said, addition))


async def _serve(
    settings: Settings,
    app: App,
    listening: Listening,
    said: Callable[[str], None],
    addition: ConsoleAddition = NOTHING_ADDED,
) -> None:
    with bound_surface(settings, listening, "console") as surface:
        await refuse_other_map(settings)
        broker = KafkaBroker.from_settings(settings)
        process = ConsoleProcess(
            *(settings, app, broker, surface.clock, surface.metrics),
            secure=listening.encrypted,
            behind_proxy=listening.behind_tls,
            addition=addition,
        )
        await surface.serve(process.app(), said, stop_timeout_s=STOP_TIMEOUT_S)
