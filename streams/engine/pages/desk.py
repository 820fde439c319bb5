"""Answers a request for a page (docs/protocols/stream_agents.md).

V1  find the page; a key that it routes by names a partition
V2  if another worker has the partition, ask it (pages/owners.py)
V3  run the page, with a deadline, on the state of completed events
V4  answer once commits hold what was read (pages/page_tables.py)
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Protocol
from urllib.parse import unquote

import structlog
from starlette.routing import compile_path

from streams.connect.access.refusals import (
    BadRequest,
    Forbidden,
    KeyNotLocal,
    PageFailed,
    PageTimeout,
    UnknownResource,
)
from streams.core.clock import Clock
from streams.core.errors import Pending, RequestRefused
from streams.core.topics.current_stream import Running, current
from streams.engine.agents.job_agent import Agent
from streams.engine.agents.stream_agent import StreamAgent
from streams.engine.pages.page_tables import KeyPlace, Owned, PageScope, PageTables
from streams.engine.streams.page import Page, PageRequest, PageResponse, RoutedHandler, Web

PAGE_S: Final = 20.0
"""deadline of a page's code"""
FORWARDED: Final = "x-dia-forwarded"
"""marks requests from another worker, which are not forwarded again"""

log = structlog.get_logger(__name__)


class OtherWorkers(Protocol):
    async def ask(self, place: KeyPlace, request: PageRequest) -> PageResponse | None:
        """The answer of the worker that has the partition; None if none is known."""
        ...

    async def where(self, place: KeyPlace) -> str:
        """Which worker has the partition, and how to reach it, in a sentence; "" if unknown."""
        ...


class NoOwners:
    async def ask(self, place: KeyPlace, request: PageRequest) -> PageResponse | None:
        return None

    async def where(self, place: KeyPlace) -> str:
        return ""


class PageDesk:
    def __init__(
        self,
        pages: Sequence[Page],
        agents: Sequence[Agent],
        groups: Sequence[Owned],
        sending: Running,
        clock: Clock,
        owners: OtherWorkers | None = None,
    ) -> None:
        self._pages = [(compile_path(page.path)[0], page) for page in pages]
        self._agents = [agent for agent in agents if isinstance(agent, StreamAgent)]
        self._groups = groups
        self._sending = sending
        self._clock = clock
        self._owners: OtherWorkers = owners if owners is not None else NoOwners()

    async def answer(self, request: PageRequest) -> PageResponse:
        """Raises `RequestRefused` errors."""
        page, request = self._page(request)
        if request.tenant is not None and not page.tenants:
            raise Forbidden("this page shows all tenants, and the token is bound to one")
        tables = PageTables(self._agents, self._groups, self._clock)
        if isinstance(page.handler, RoutedHandler):
            elsewhere = await self._elsewhere(page.handler, request, tables)
            if elsewhere is not None:
                return elsewhere
        answered = await self._run(page, request, tables)
        await tables.committed()
        return answered

    def _page(self, request: PageRequest) -> tuple[Page, PageRequest]:
        allowed: set[str] = set()
        for pattern, page in self._pages:
            if (found := pattern.match(request.sent_path)) is None:
                continue
            if request.method in page.methods:
                parts = {name: unquote(part) for name, part in found.groupdict().items()}
                return page, replace(request, match_info=parts)
            allowed.update(page.methods)
        if allowed:
            raise BadRequest(f"{request.path} answers {', '.join(sorted(allowed))}")
        raise UnknownResource(f"the app has no page {request.path}")

    async def _elsewhere(
        self, routed: RoutedHandler, request: PageRequest, tables: PageTables
    ) -> PageResponse | None:
        """The answer of another worker; None if the key is here."""
        key = routed.key(request)
        if key is None:
            raise BadRequest(f"the query needs a parameter {routed.query_param!r}")
        place = tables.place(routed.table.name, key)
        if place is not None and tables.part(routed.table.name, place) is not None:
            return None
        if place is not None and FORWARDED not in request.headers:
            answered = await self._owners.ask(place, request)
            if answered is not None:
                return answered
        where = "" if place is None else await self._owners.where(place)
        raise KeyNotLocal(
            f"key {key!r} of table {routed.table.name!r} is not here. "
            + (where or "No worker has its partition, which may be moving: ask again."),
            retry_after_s=1.0,
        )

    async def _run(self, page: Page, request: PageRequest, tables: PageTables) -> PageResponse:
        scope = PageScope(tables, self._sending)
        former = current.set(scope)
        try:
            async with asyncio.timeout(PAGE_S):
                answered = await page.handler(Web(), request, **request.match_info)
        except RequestRefused:
            raise
        except Pending as pending:
            raise PageTimeout(str(pending), retry_after_s=1.0) from pending
        except TimeoutError as error:
            raise PageTimeout(f"page {page.name} took longer than {PAGE_S:g} s") from error
        except Exception as error:
            log.exception("page_failed", page=page.name)
            raise PageFailed(f"page {page.name} raised {type(error).__name__}") from error
        finally:
            current.reset(former)
            scope.end()
        if not isinstance(answered, PageResponse):
            log.error("page_failed", page=page.name, gave=type(answered).__name__)
            raise PageFailed(
                f"page {page.name} returned no answer: return web.json(...) or another response of "
                "web"
            )
        return answered
