"""An HTTP surface as a process: its ports, probes, metrics, and a graceful stop."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from starlette.applications import Starlette

from streams.connect.access.listening import Listening
from streams.connect.access.web_server import STOP_TIMEOUT_S, WebServer, bounded
from streams.core.clock import Clock, SystemClock
from streams.core.process.listener import bound
from streams.core.process.version import app_version
from streams.core.settings import Settings
from streams.core.telemetry.health import HealthServer, HealthState, PartitionCounts
from streams.core.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Surface:
    """The bound ports of one process, and what is measured of it."""

    settings: Settings
    listening: Listening
    listener: socket.socket
    tls: ssl.SSLContext | None
    clock: Clock
    metrics: Metrics
    state: HealthState
    health: HealthServer

    async def serve(
        self,
        app: Starlette,
        said: Callable[[str], None],
        *,
        stop_timeout_s: int = STOP_TIMEOUT_S,
        made: Callable[[WebServer], None] = lambda server: None,
    ) -> None:
        """Until SIGTERM or SIGINT. ``said`` receives the address, ``made`` the server."""
        try:
            health_port = await self.health.start()
            self.state.set_partitions(PartitionCounts())
            address_max = 0 if self.listening.behind_tls else self.settings.address_connections
            server = WebServer(
                app,
                self.listener,
                tls=self.tls,
                stop_timeout_s=stop_timeout_s,
                connections=bounded(address_max),
                refused=lambda reason: self.metrics.connections.refused.labels(reason).inc(),
            )

            def listens(url: str) -> None:
                self.state.mark_started()
                said(f"listening on {url}; metrics and probes on port {health_port}")

            server.on_listening = listens
            server.on_draining = self.state.mark_draining
            made(server)
            await server.run_until_stopped()
        finally:
            await self.health.stop()


@contextmanager
def bound_surface(settings: Settings, listening: Listening, process: str) -> Iterator[Surface]:
    """``process`` is edge or console. Raises `AddressUnavailable` for an address in use, and
    `UsageError` for TLS files that do not fit."""
    tls = listening.tls
    with (
        bound(listening.host, listening.port, f"DIA_{process.upper()}_PORT") as listener,
        bound(settings.http_host, settings.http_port, "DIA_HTTP_PORT") as probes,
    ):
        clock, metrics = SystemClock(), Metrics(version=app_version(), process=process)
        state = HealthState(clock)
        health = HealthServer(state, metrics, clock, probes)
        yield Surface(settings, listening, listener, tls, clock, metrics, state, health)
