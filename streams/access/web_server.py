"""uvicorn as a process of dia: bounded, silent in the logs, ended by a signal without a cut answer."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn
from starlette.applications import Starlette

from streams.access.listening import Listening

CONNECTIONS_MAX = 1000
STOP_TIMEOUT_S = 30
"""Longer than a transaction may take: whoever waits for an answer gets it."""


class WebServer(uvicorn.Server):
    """Tells its address once it is bound, and ends after a signal instead of dying of it:
    uvicorn's own way raises the signal again before anything could be closed."""

    on_listening: Callable[[str], None] = staticmethod(lambda url: None)

    def __init__(
        self, app: Starlette, listening: Listening, stop_timeout_s: int = STOP_TIMEOUT_S
    ) -> None:
        super().__init__(_config(app, listening, stop_timeout_s))

    async def startup(self, sockets: list[Any] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            scheme = "https" if self.config.is_ssl else "http"
            self.on_listening(f"{scheme}://{host}:{port}")

    def stop(self) -> None:
        """Answer what was asked, then end."""
        self.should_exit = True

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


def _config(app: Starlette, listening: Listening, stop_timeout_s: int) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=listening.host,
        port=listening.port,
        ssl_certfile=str(listening.cert) if listening.cert else None,
        ssl_keyfile=str(listening.key) if listening.key else None,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=CONNECTIONS_MAX,
        timeout_graceful_shutdown=stop_timeout_s,
        ws="none",
        lifespan="on",
    )
