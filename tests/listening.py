"""A web process of dia that listens on this machine, with its own event loop and thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any

from starlette.applications import Starlette

from agents.app import app
from streams.connect.access.web_server import STOP_TIMEOUT_S, WebServer
from streams.connect.broker.memory.broker import MemoryBroker
from streams.core.clock import SystemClock
from streams.core.process.listener import bound
from streams.core.settings import Settings
from streams.core.telemetry.metrics import Metrics
from streams.http.console.serving import ConsoleProcess
from streams.operate.topics.topics import wanted_topics

START_S = 200.0

Opened = Callable[[], AbstractAsyncContextManager[Starlette]]
"""Creates the application on the event loop that serves it, and closes its resources."""


@asynccontextmanager
async def console(settings: Settings) -> AsyncIterator[Starlette]:
    """A console over an in-memory broker that has every topic."""
    broker = MemoryBroker(SystemClock())
    await (await broker.admin()).create_topics(wanted_topics(app.topology))
    yield ConsoleProcess(settings, app, broker, SystemClock(), Metrics()).app()


@contextmanager
def listening(opened: Opened, stop_timeout_s: int = STOP_TIMEOUT_S, **bounds: Any) -> Iterator[str]:
    """The address of the application, until the block ends; ``bounds`` as of a `WebServer`."""
    ready = threading.Event()
    urls: list[str] = []
    servers: list[WebServer] = []

    async def serve() -> None:
        async with opened() as app:
            listener = bound("127.0.0.1", 0, "the port")
            server = WebServer(app, listener, stop_timeout_s=stop_timeout_s, **bounds)
            servers.append(server)
            server.on_listening = lambda url: (urls.append(url), ready.set())
            await server.run_until_stopped()

    def run() -> None:
        try:
            asyncio.run(serve())
        finally:
            ready.set()

    thread = threading.Thread(target=run)
    thread.start()
    assert ready.wait(START_S)
    [url] = urls
    try:
        yield url
    finally:
        servers[0].stop()
        thread.join(2 * STOP_TIMEOUT_S)
        assert not thread.is_alive()
