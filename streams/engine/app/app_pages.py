"""The part of `App` that declares pages, with Faust's API (streams/engine/streams/page.py)."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from typing import Any

from streams.core.errors import UnsupportedByDia, UsageError
from streams.engine.streams.declared_table import DeclaredTable
from streams.engine.streams.page import Handler, Page, RoutedHandler
from streams.engine.streams.windowed_table import WindowedDeclaration

_PATH = re.compile(r"(?:/(?:[A-Za-z0-9._~-]+|\{[A-Za-z_][A-Za-z0-9_]*\}))*/?")
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


class PageDeclarations:
    _pages: tuple[Page, ...] = ()

    @property
    def own_pages(self) -> tuple[Page, ...]:
        return self._pages

    def page(
        self,
        path: str,
        *,
        methods: Sequence[str] = ("GET",),
        name: str | None = None,
        tenants: bool = False,
        **faust: Any,
    ) -> Callable[[Any], Any]:
        """Declare the decorated coroutine function, ``(web, request, **parts)``, as the page at
        ``path``; see `Page`. Raises `UsageError` for a path that is taken or malformed, and
        `UnsupportedByDia` for a class of views."""
        if not isinstance(path, str):
            raise UsageError(f"@app.page takes a path, and {path!r} is none: @app.page('/totals').")
        if faust:
            raise UnsupportedByDia(f"@app.page({path!r}): {min(faust)} is not supported.")
        wrong = sorted({*methods} - {*_METHODS})
        if not path.startswith("/") or not _PATH.fullmatch(path) or wrong or not methods:
            raise UsageError(
                f"@app.page({path!r}, methods={[*methods]}): a path consists of /word and "
                f"/{{name}}; methods are {', '.join(_METHODS)}."
            )
        if any(page.path == path and {*page.methods} & {*methods} for page in self._pages):
            raise UsageError(f"the app declares two pages at {path}.")

        def register(handler: Any) -> Any:
            inner = handler.handler if isinstance(handler, RoutedHandler) else handler
            called: str = name or getattr(inner, "__name__", "") or path
            if not inspect.iscoroutinefunction(inner):
                raise UnsupportedByDia(
                    f"@app.page({path!r}): give an `async def` with the parameters web, request "
                    "and the named parts of the path; classes of views are not supported."
                )
            parts = re.findall(r"\{(\w+)\}", path)
            if isinstance(handler, RoutedHandler) and handler.match_info not in ("", *parts):
                raise UsageError(
                    f"@app.table_route(match_info={handler.match_info!r}): {path} has no such part."
                )
            page = Page(path, handler, called, tuple(methods), tenants)
            self._pages = (*self._pages, page)
            return handler

        return register

    def table_route(
        self,
        table: DeclaredTable,
        *,
        match_info: str | None = None,
        query_param: str | None = None,
        shard_param: str | None = None,
    ) -> Callable[[Handler], RoutedHandler]:
        """Have the page answered by the worker that owns a key of ``table``: the part
        ``match_info`` of the path, or the query parameter ``query_param`` (or ``shard_param``).
        Place it below ``@app.page``."""
        query_param = query_param or shard_param
        if bool(match_info) == bool(query_param):
            raise UsageError("@app.table_route: give either match_info or query_param.")
        if isinstance(table, WindowedDeclaration) or table.keys_are == "any":
            raise UnsupportedByDia(
                f"@app.table_route: table {table.name!r} has windows, or keys='any', so the key "
                "alone does not name a partition. Route by a plain table with the same keys."
            )

        def route(handler: Handler) -> RoutedHandler:
            return RoutedHandler(handler, table, match_info or "", query_param or "")

        return route
