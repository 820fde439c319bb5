"""The tenants, models and metrics that the selectors offer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from streams.connect.access.tokens import Role
from streams.connect.cache.kind import CATALOG
from streams.http.console import reply
from streams.http.console.access.authorizer import Authorizer
from streams.http.console.parameters import Parameters
from streams.http.console.response_cache import QueryKey, ResponseCache
from streams.http.console.shards import ShardReader

NAMES_MAX: Final = 10_000
MODELS_MAX: Final = 20

# A day rolls up within a minute of its minutes; younger series are in m1 only.
_SQL = """
SELECT DISTINCT {column} AS name
FROM
(
    SELECT tenant, model, metric FROM d1_local
    UNION ALL
    SELECT tenant, model, metric FROM m1_local WHERE w >= now() - INTERVAL 2 HOUR
)
WHERE ({{tenant:String}} = '' OR tenant = {{tenant:String}})
    AND (empty({{models:Array(String)}}) OR has({{models:Array(String)}}, model))
ORDER BY name
LIMIT {limit}
"""


@dataclass(eq=False)
class CatalogHandler:
    """GET /api/tenants, /api/models, /api/metrics."""

    _gate: Authorizer
    _shards: ShardReader
    _answers: ResponseCache

    async def tenants(self, request: Request) -> Response:
        bound = self._gate.holder(request, Role.READ).token.tenant
        return reply.json(request, await self._names("tenant", bound or ""))

    async def models(self, request: Request) -> Response:
        holder = self._gate.holder(request, Role.READ)
        tenant = holder.tenant(Parameters(request).tenant())
        return reply.json(request, await self._names("model", tenant))

    async def metrics(self, request: Request) -> Response:
        holder, given = self._gate.holder(request, Role.READ), Parameters(request)
        tenant, models = holder.tenant(given.tenant()), given.names("model", MODELS_MAX)
        return reply.json(request, await self._names("metric", tenant, models))

    async def _names(self, column: str, tenant: str, models: tuple[str, ...] = ()) -> bytes:
        async def load() -> dict[str, Any]:
            sql = _SQL.format(column=column, limit=NAMES_MAX)
            given = {"tenant": tenant, "models": list(models)}
            rows = await self._shards.of_all(sql, given)
            return {f"{column}s": sorted({row[0] for row in rows})[:NAMES_MAX]}

        return await self._answers.get(QueryKey(CATALOG, tenant, (column, models)), load)
