"""An HTTP proxy in front of one ClickHouse shard that can fail its requests."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from enum import Enum
from io import BytesIO
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from aiohttp import ClientSession, ClientTimeout, web

BODY_MAX_BYTES = 256 << 20
_HOP = {"connection", "keep-alive", "transfer-encoding", "host", "content-length"}
_START_S = 10.0


class Weather(Enum):
    """How the proxy handles a request."""

    FAIR = "passed on"
    SLOW = "passed on after a delay"
    HUNG = "never answered while it lasts"
    CUT_BODY = "half its body passed on, then both connections cut"
    CUT_ANSWER = "passed on, and the connection cut instead of the answer"
    REFUSED = "answered with an error"


class ShardProxy:
    """Listens on a free port of 127.0.0.1 in its own thread.

    ``weather`` applies to the requests that follow; ``delay_s``, ``status`` and ``code``
    (ClickHouse's error number) are its parameters. ``hurt`` counts the requests that failed or were
    delayed.
    """

    def __init__(self, upstream: str) -> None:
        self.weather = Weather.FAIR
        self.delay_s = 0.0
        self.status, self.code = 500, 0
        self.hurt = 0
        self.url = ""
        self._upstream = upstream
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._start())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._call(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_START_S)
        self._loop.close()

    def refuse(self, status: int, code: int) -> None:
        """Answer every request with this HTTP status and ClickHouse error."""
        self.status, self.code = status, code
        self.weather = Weather.REFUSED

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(_START_S)

    async def _start(self) -> None:
        self._client = ClientSession(timeout=ClientTimeout(total=None), auto_decompress=False)
        app = web.Application(client_max_size=BODY_MAX_BYTES)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{port}"

    async def _stop(self) -> None:
        self.weather = Weather.FAIR
        await self._runner.cleanup()
        await self._client.close()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        weather = self.weather
        if weather is not Weather.FAIR:
            self.hurt += 1
        ways: dict[Weather, Callable[[], Coroutine[Any, Any, web.StreamResponse]]] = {
            Weather.FAIR: lambda: self._pass_on(request, body),
            Weather.SLOW: lambda: self._late(request, body),
            Weather.HUNG: lambda: self._silence(request),
            Weather.CUT_BODY: lambda: self._half(request, body),
            Weather.CUT_ANSWER: lambda: self._unanswered(request, body),
            Weather.REFUSED: self._refusal,
        }
        return await ways[weather]()

    async def _pass_on(self, request: web.Request, body: bytes) -> web.StreamResponse:
        headers = {k: v for k, v in request.headers.items() if k.lower() not in _HOP}
        url = self._upstream + request.raw_path
        async with self._client.request(
            request.method, url, data=BytesIO(body), headers=headers
        ) as answer:
            content = await answer.read()
            kept = {k: v for k, v in answer.headers.items() if k.lower() not in _HOP}
            return web.Response(status=answer.status, headers=kept, body=content)

    async def _late(self, request: web.Request, body: bytes) -> web.StreamResponse:
        await asyncio.sleep(self.delay_s)
        return await self._pass_on(request, body)

    async def _silence(self, request: web.Request) -> web.StreamResponse:
        while self.weather is Weather.HUNG:  # noqa: ASYNC110 - set from another thread
            await asyncio.sleep(0.1)
        return self._abort(request)

    async def _half(self, request: web.Request, body: bytes) -> web.StreamResponse:
        parts = urlsplit(self._upstream)
        _, writer = await asyncio.open_connection(parts.hostname, parts.port)
        kept = [f"{k}: {v}" for k, v in request.headers.items() if k.lower() not in _HOP]
        head = [f"{request.method} {request.raw_path} HTTP/1.1", f"Host: {parts.netloc}", *kept]
        writer.write("\r\n".join([*head, f"Content-Length: {len(body)}", "", ""]).encode())
        writer.write(body[: len(body) // 2])
        await writer.drain()
        writer.transport.abort()
        return self._abort(request)

    async def _unanswered(self, request: web.Request, body: bytes) -> web.StreamResponse:
        await self._pass_on(request, body)
        return self._abort(request)

    async def _refusal(self) -> web.StreamResponse:
        text = f"Code: {self.code}. DB::Exception: scripted by a test. (SCRIPTED)"
        headers = {"X-ClickHouse-Exception-Code": str(self.code)}
        return web.Response(status=self.status, text=text, headers=headers)

    @staticmethod
    def _abort(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()
