"""The names that the selectors offer: values of the dimensions of windows."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from streams.connect.access.refusals import BadRequest
from streams.connect.access.tokens import Role
from streams.connect.cache.kind import CATALOG
from streams.connect.sinks.window_views.view import WindowView
from streams.http.console import reply
from streams.http.console.access.authorizer import Authorizer
from streams.http.console.parameters import Parameters
from streams.http.console.response_cache import QueryKey, ResponseCache
from streams.http.console.shards import ShardReader
from streams.http.console.windows import WindowsHandler, answered, values

NAMES_MAX: Final = 10_000
CHOSEN_MAX: Final = 20


@dataclass(eq=False)
class CatalogHandler:
    """GET /api/names, /api/tenants, /api/models, /api/metrics."""

    _gate: Authorizer
    _windows: WindowsHandler
    _shards: ShardReader
    _answers: ResponseCache

    async def tenants(self, request: Request) -> Response:
        """Of all windows that have tenants."""
        bound = self._gate.holder(request, Role.READ).token.tenant or ""

        async def load() -> dict[str, Any]:
            given = {0: [bound]} if bound else {}
            asked = (self._read(view, 0, given, bound) for view in self._windows.tenants())
            found = await asyncio.gather(*asked)
            return {"tenants": sorted({*itertools.chain(*found)})[:NAMES_MAX]}

        question = QueryKey(CATALOG, bound, ("tenants",))
        return reply.json(request, await self._answers.get(question, load))

    async def models(self, request: Request) -> Response:
        return await self._names(request, "model", "models")

    async def metrics(self, request: Request) -> Response:
        return await self._names(request, "metric", "metrics")

    async def names(self, request: Request) -> Response:
        return await self._names(request, None, "names")

    async def _names(self, request: Request, of: str | None, called: str) -> Response:
        """The values of a dimension, beside chosen values of others. ``of`` None: the parameter ``of`` names it."""
        holder, given = self._gate.holder(request, Role.READ), Parameters(request)
        asked = self._windows.asked(given, holder)
        dimensions, of = asked.view.dimensions, of or given.name("of")
        at = next((n for n, one in enumerate(dimensions) if one.name == of), None)
        if at is None:
            known = ", ".join(one.name for one in asked.view.chosen)
            raise BadRequest(f"windows {asked.view.name} have the dimensions {known}, not {of}")
        number = at
        chosen = {
            n: values(one, given, CHOSEN_MAX)
            for n, one in enumerate(dimensions)
            if one in asked.view.chosen and n != number
        }
        if asked.view.tenant:
            chosen[0] = (asked.tenant,)

        async def load() -> dict[str, Any]:
            found = await self._read(asked.view, number, chosen, asked.tenant)
            return {called: [*map(answered, sorted({*found})[:NAMES_MAX])]}

        what = (called, asked.view.name, of, [*chosen.items()])
        body = await self._answers.get(QueryKey(CATALOG, asked.tenant, what), load)
        return reply.json(request, body)

    async def _read(
        self, view: WindowView, at: int, given: Mapping[int, Sequence[Any]], owner: str
    ) -> list[Any]:
        statement = view.names(at, given, NAMES_MAX)
        return [row[0] for row in await self._shards.of_all(*statement, owner=owner)]
