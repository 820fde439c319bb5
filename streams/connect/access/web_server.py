"""uvicorn as a dia process: bounded, quiet in the logs, with a graceful stop on a signal."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from functools import partial
from types import FrameType
from typing import Any

import uvicorn
from starlette.applications import Starlette

from streams.connect.access.bounded_protocol import BoundedProtocol, Refused
from streams.connect.access.connections import Connections
from streams.connect.access.tls_handshake import TlsHandshake
from streams.core.process.listener import address_of

CONNECTIONS_MAX = 1000
OPEN_FILES_LEFT = 128
"""descriptors reserved for Kafka, ClickHouse, Redis and files"""
STOP_TIMEOUT_S = 30
"""Longer than a transaction, so that pending requests get their response."""


class WebServer(uvicorn.Server):
    """Exits normally after a signal: uvicorn itself raises the signal again before the process
    closes its resources."""

    on_listening: Callable[[str], None] = staticmethod(lambda url: None)
    on_draining: Callable[[], None] = staticmethod(lambda: None)
    """Called when a stop is requested, while responses are pending."""

    def __init__(
        self,
        app: Starlette,
        listener: socket.socket,
        *,
        tls: ssl.SSLContext | None = None,
        stop_timeout_s: int = STOP_TIMEOUT_S,
        connections: Connections | None = None,
        refused: Refused = lambda reason: None,
    ) -> None:
        """``listener`` is a bound socket, which `run_until_stopped` closes; ``tls`` None serves
        plain HTTP. ``refused`` receives the reason of each refusal before the application."""
        held = bounded(CONNECTIONS_MAX // 2) if connections is None else connections
        plain = partial(BoundedProtocol, connections=held, refused=refused)

        def protocol(**uvicorn: Any) -> asyncio.Protocol:
            inner = partial(plain, **uvicorn)
            return inner() if tls is None else TlsHandshake(tls, inner, held, refused)

        super().__init__(_config(app, protocol, stop_timeout_s))
        self._listener = listener
        self._scheme = "http" if tls is None else "https"

    async def run_until_stopped(self) -> None:
        """Until a signal or `stop`. Raises `RuntimeError` when the application cannot start."""
        try:
            await self.serve(sockets=[self._listener])
        except SystemExit as error:  # uvicorn has logged the reason
            raise RuntimeError("the application did not start; the log says why") from error
        finally:
            self._listener.close()

    async def startup(self, sockets: list[Any] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            host, port = address_of(self._listener)
            self.on_listening(f"{self._scheme}://{host}:{port}")

    def stop(self) -> None:
        self.should_exit = True
        self.on_draining()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        self.on_draining()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)


def bounded(address_max: int) -> Connections:
    """At most `CONNECTIONS_MAX`, or fewer by the open-file limit; ``address_max`` 0 sets no bound
    by address."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    known = files != resource.RLIM_INFINITY
    total = min(CONNECTIONS_MAX, max(8, files - OPEN_FILES_LEFT)) if known else CONNECTIONS_MAX
    return Connections(total_max=total, address_max=min(address_max, total))


def _config(
    app: Starlette, protocol: Callable[..., asyncio.Protocol], stop_timeout_s: int
) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=protocol,  # type: ignore[arg-type]  # uvicorn calls it, and asks no more of a class
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=stop_timeout_s,
        ws="none",
        lifespan="on",
    )
