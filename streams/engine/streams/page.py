"""Declaration of pages; streams/engine/pages serves them.

    @app.page("/count/{word}/")
    @app.table_route(table=counts, match_info="word")
    async def count(web, request, word):
        return web.json({word: counts[word]})

A page reads the state of completed events in the partitions of its process. Its answer is sent once
a commit holds what it read, so no crash takes it back.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

if TYPE_CHECKING:
    from streams.engine.streams.declared_table import DeclaredTable

Handler = Callable[..., Awaitable["PageResponse"]]
READING = frozenset({"GET", "HEAD"})
"""methods of pages that change nothing"""


@dataclass(frozen=True)
class PageRequest:
    """A client's request. ``match_info``: the named parts of the path. ``tenant``: that of the
    token; None: the token is for all. ``encoded``: the path as it was sent, where %2F is a slash
    inside of a part; "": ``path`` has no such slash."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    match_info: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    tenant: str | None = None
    encoded: str = ""

    @property
    def sent_path(self) -> str:
        """Percent-encoded."""
        return self.encoded or quote(self.path)

    async def read(self) -> bytes:
        return self.body

    async def text(self) -> str:
        return self.body.decode()

    async def json(self) -> Any:
        """Raises ValueError for a body that is not JSON."""
        return msgspec.json.decode(self.body)


@dataclass(frozen=True)
class PageResponse:
    body: bytes
    status: int = 200
    media_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


class Web:
    """Makes answers: the first argument of a page, as in Faust."""

    def json(self, value: Any, *, status: int = 200, **headers: str) -> PageResponse:
        return PageResponse(msgspec.json.encode(value), status, headers=headers)

    def text(self, value: str, *, status: int = 200) -> PageResponse:
        return PageResponse(value.encode(), status, "text/plain; charset=utf-8")

    def html(self, value: str, *, status: int = 200) -> PageResponse:
        return PageResponse(value.encode(), status, "text/html; charset=utf-8")

    def bytes(
        self, value: bytes, *, status: int = 200, content_type: str = "application/octet-stream"
    ) -> PageResponse:
        return PageResponse(value, status, content_type)

    def notfound(self, reason: str = "not found") -> PageResponse:
        return self.error(404, reason)

    def error(self, status: int, reason: str) -> PageResponse:
        return self.json({"error": reason}, status=status)


@dataclass(frozen=True)
class Page:
    """``path`` may have named parts, ``/count/{word}/``. ``tenants``: allows tokens of one tenant;
    the page must then respect `PageRequest.tenant`."""

    path: str
    handler: Handler
    name: str
    methods: tuple[str, ...] = ("GET",)
    tenants: bool = False


@dataclass(frozen=True)
class RoutedHandler:
    """A page that the worker with the key answers: a part of the path or a query parameter."""

    handler: Handler
    table: DeclaredTable
    match_info: str = ""
    query_param: str = ""

    def key(self, request: PageRequest) -> str | None:
        if self.match_info:
            return request.match_info.get(self.match_info)
        return request.query.get(self.query_param)

    async def __call__(self, *args: Any, **parts: str) -> PageResponse:
        return await self.handler(*args, **parts)
