"""Serves pages over HTTP on their own port.

Order of the checks: attempts, token, role, rate, running pages, size, then the page. The server runs in
the worker's event loop, where the tables are: a page that computes for long delays records. So the
tokens of a tenant share a rate, and a part of the pages that run at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote, unquote_to_bytes

import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from streams.connect.access.attempts import Attempts
from streams.connect.access.authentication import Authenticator
from streams.connect.access.connections import client_site
from streams.connect.access.fair_share import FairShare
from streams.connect.access.last_uses import LastUses
from streams.connect.access.problem import refusal
from streams.connect.access.refusals import (
    BodyTooLarge,
    Forbidden,
    Overloaded,
    Unauthenticated,
)
from streams.connect.access.request_rate import RequestRate
from streams.connect.access.tokens import AccessToken, Role, TokenFile
from streams.connect.access.web_server import WebServer, bounded
from streams.core.clock import Clock
from streams.core.errors import RequestRefused
from streams.core.settings import Settings
from streams.core.telemetry.metrics import Metrics
from streams.engine.pages.desk import PageDesk
from streams.engine.streams.page import READING, PageRequest

BODY_MAX_BYTES: Final = 64 << 10
REQUESTS: Final = 600
"""of one tenant, or of one token of all tenants, in `PERIOD_S`"""
PERIOD_S: Final = 60.0
RUNNING_MAX: Final = 64
"""pages at once; one tenant has half at most"""
STOP_TIMEOUT_S: Final = 5
_HEADERS: Final = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}

log = structlog.get_logger(__name__)


class PagesServer(WebServer):
    """Its worker ends it; Faust handles signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class PageSite:
    def __init__(
        self,
        desk: PageDesk,
        listener: socket.socket,
        settings: Settings,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        """``listener`` is a bound socket; `stop` closes it."""
        self._desk = desk
        self._clock = clock
        tokens = TokenFile.of(settings.home_path(), settings.tokens_file)
        self._authenticator = Authenticator(tokens, LastUses.of(settings.home_path(), tokens))
        self._attempts = Attempts(clock)
        self._rate = RequestRate(clock, limit=REQUESTS, period_s=PERIOD_S)
        self._running: FairShare[str] = FairShare(RUNNING_MAX)
        self._behind_proxy = bool(settings.pages_behind_tls)
        self._server = PagesServer(
            self.app(),
            listener,
            stop_timeout_s=STOP_TIMEOUT_S,
            connections=bounded(0 if self._behind_proxy else settings.address_connections),
            refused=lambda reason: metrics.connections.refused.labels(reason).inc(),
        )
        self._tasks: list[asyncio.Task[None]] = []

    def app(self) -> Starlette:
        methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
        return Starlette(routes=[Route("/{path:path}", self._told, methods=methods)])

    def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._server.run_until_stopped(), name="pages"),
            asyncio.create_task(self._authenticator.note_uses(self._clock), name="last-uses"),
        ]

    async def stop(self) -> None:
        """Answer open requests, then end."""
        self._server.stop()
        for task in self._tasks[1:]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _told(self, request: Request) -> Response:
        try:
            return await self._answer(request)
        except RequestRefused as error:
            return refusal(error)

    async def _answer(self, request: Request) -> Response:
        token = self._token(request)
        self._rate.take(token.owner)
        with self._room_for(token):
            answered = await self._desk.answer(
                PageRequest(
                    method=request.method,
                    path=request.scope["path"],
                    encoded=_encoded(request.scope.get("raw_path", b"")),
                    query=dict(request.query_params),
                    headers=dict(request.headers),
                    body=await _body(request),
                    tenant=token.tenant,
                )
            )
        headers = _HEADERS | dict(answered.headers)
        return Response(answered.body, answered.status, headers, answered.media_type)

    def _token(self, request: Request) -> AccessToken:
        shown = request.headers.get("authorization")
        site = client_site(request, behind_proxy=self._behind_proxy)
        self._attempts.require(site, "")
        try:
            token = self._authenticator.token_of(shown, self._clock.now_ms())
        except Unauthenticated:
            if shown is not None:
                self._attempts.failed(site)
            raise
        role = Role.READ if request.method in READING else Role.OPERATE
        if not token.allows(role):
            raise Forbidden(f"{request.method} needs the role {role.name.lower()}")
        return token

    @contextlib.contextmanager
    def _room_for(self, token: AccessToken) -> Iterator[None]:
        """Raises `Overloaded`."""
        part = {token.owner: 1}
        if not self._running.take(part):
            raise Overloaded("too many pages run for this tenant", retry_after_s=1.0)
        try:
            yield
        finally:
            self._running.give(part)


def _encoded(raw_path: bytes) -> str:
    """Each part in one spelling, however a client encodes it."""
    parts = raw_path.partition(b"?")[0].split(b"/")
    return "/".join(quote(unquote_to_bytes(part), safe="") for part in parts)


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > BODY_MAX_BYTES:
            raise BodyTooLarge(f"a page takes a body of at most {BODY_MAX_BYTES} bytes")
    return bytes(body)
