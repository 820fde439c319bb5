"""`dia console` as a process: wired, listening, and stopped."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from starlette.applications import Starlette

from streams.access.authentication import Authenticator
from streams.access.listening import Listening, is_loopback
from streams.access.request_rate import RequestRate
from streams.access.tokens import TokenFile
from streams.access.web_server import WebServer
from streams.cache.process import ProcessCaches
from streams.clock import Clock, SystemClock
from streams.console.answers import Answers
from streams.console.app import Console, console_app
from streams.console.gate import Gate
from streams.console.level import of_breakers
from streams.console.series import SeriesDesk
from streams.console.sessions import Sessions
from streams.console.shards import ShardReader
from streams.errors import RefusedBySafety, UsageError
from streams.settings import Settings
from streams.telemetry.health import HealthServer, HealthState, PartitionCounts
from streams.telemetry.metrics import Metrics
from streams.version import app_version

RATE_PERIOD_S = 60.0


class ConsoleProcess:
    """The parts of one console."""

    def __init__(
        self, settings: Settings, clock: Clock, metrics: Metrics, *, secure: bool = False
    ) -> None:
        """Raises `UsageError` for unreadable tokens or secrets."""
        tokens = TokenFile.of(settings.home_path())
        tokens.read()
        self._shards = ShardReader(settings, clock, metrics)
        self._caches = ProcessCaches(settings, clock, metrics)
        self._answers = Answers(
            self._caches.layer, clock, metrics, lambda: of_breakers(self._shards.breakers)
        )
        gate = Gate(
            authenticator=Authenticator(tokens),
            sessions=Sessions(clock),
            clock=clock,
            rate=RequestRate(clock, limit=settings.console_requests, period_s=RATE_PERIOD_S),
            secure=secure,
        )
        self.console = Console(
            gate=gate,
            series=SeriesDesk(gate, self._shards, self._answers, clock, settings.m1_retention_days),
            clock=clock,
            metrics=metrics.console,
        )

    def app(self) -> Starlette:
        """The application; what it needs runs while it does."""
        return console_app(self.console, lifespan=self._running)

    @contextlib.asynccontextmanager
    async def _running(self, app: Starlette) -> AsyncIterator[None]:
        self._caches.start()
        try:
            yield
        finally:
            await self._answers.close()
            await self._caches.close()
            await self._shards.close()


def serve(settings: Settings, listening: Listening, said: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT. ``said`` is told the address.

    Raises `RefusedBySafety` for an address that is not safe, or, beyond loopback, without tokens.
    """
    listening.require_safe()
    if not is_loopback(listening.host) and not TokenFile.of(settings.home_path()).read():
        raise RefusedBySafety(
            f"listening on {listening.host} without any token would be of use to nobody but an "
            "attacker. `dia edge token create --role admin` makes one."
        )
    asyncio.run(_serve(settings, listening, said))


async def _serve(settings: Settings, listening: Listening, said: Callable[[str], None]) -> None:
    clock, metrics = SystemClock(), Metrics(version=app_version())
    process = ConsoleProcess(settings, clock, metrics, secure=listening.encrypted)
    state = HealthState(clock)
    health = HealthServer(state, metrics, clock, host=settings.http_host, port=settings.http_port)
    try:
        health_port = await health.start()
        state.mark_started()
        state.set_partitions(PartitionCounts())
        server = WebServer(process.app(), listening)
        server.on_listening = lambda url: said(
            f"listening on {url}; metrics and probes on port {health_port}"
        )
        await server.serve()
        if not server.started:
            raise UsageError(
                f"{listening.host}:{listening.port} cannot be opened. Set DIA_CONSOLE_PORT to a "
                "free port, or to 0 to take any."
            )
    finally:
        await health.stop()
