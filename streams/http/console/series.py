"""Statistics of one series over time, as `dia query series` prints them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from streams.connect.access.tokens import Role
from streams.connect.cache.kind import SERIES
from streams.connect.sinks.series import COLUMNS, SeriesQuery, choose_table, steps
from streams.core.clock import Clock
from streams.core.rows.built_in_tables import WindowTable
from streams.core.words.moments import iso_s
from streams.http.console import reply
from streams.http.console.access.authorizer import Authorizer
from streams.http.console.parameters import Format, Parameters
from streams.http.console.response_cache import QueryKey, ResponseCache
from streams.http.console.shards import Rows, ShardReader


@dataclass(eq=False)
class SeriesHandler:
    """GET /api/series."""

    _gate: Authorizer
    _shards: ShardReader
    _answers: ResponseCache
    _clock: Clock
    _retention_days: int

    async def one(self, request: Request) -> Response:
        holder = self._gate.holder(request, Role.READ)
        given = Parameters(request)
        tenant = holder.tenant(given.tenant())
        now_s = self._clock.now_ms() / 1000
        query = SeriesQuery(
            tenant=tenant,
            model=given.name("model"),
            metric=given.name("metric"),
            start_s=given.moment("from", "-1h", now_s),
            stop_s=given.moment("to", "now", now_s),
            step_s=given.span("step", "1m"),
        )
        table = choose_table(query, now_s, self._retention_days)
        wanted = given.choice("format", Format, "json")
        # As written: "the last hour" is one cache key with one last good response.
        asked = ("series", query.model, query.metric, query.step_s, *given.span_asked())
        body = await self._answers.get(
            QueryKey(SERIES, tenant, asked), lambda: self._read(query, table)
        )
        return _csv(body) if wanted == "csv" else reply.json(request, body)

    async def _read(self, query: SeriesQuery, table: WindowTable) -> dict[str, Any]:
        rows = await self._shards.of_series(query, table)
        return {
            "tenant": query.tenant,
            "model": query.model,
            "metric": query.metric,
            "table": table,
            "step_s": query.step_s,
            "from_s": query.start_s,
            "to_s": query.stop_s,
            "columns": columns(rows),
        }


def columns(rows: Rows) -> dict[str, list[Any]]:
    """The result of `statement`, a list for each column."""
    found = steps(rows)
    return {name: [row[index] for row in found] for index, name in enumerate(COLUMNS)}


def _csv(body: bytes) -> Response:
    found = msgspec.json.decode(body)["columns"]
    rows = zip(*(found[name] for name in COLUMNS), strict=True)
    return reply.csv_file(COLUMNS, [(iso_s(t), *numbers) for t, *numbers in rows])
