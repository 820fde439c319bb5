"""GET /api/range: windows of several models and metrics side by side, with heatmaps of their values."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, cast

import msgspec
import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from streams.connect.access.refusals import BadRequest
from streams.connect.access.tokens import Role
from streams.connect.cache.kind import SERIES
from streams.connect.sinks.series import (
    COLUMNS,
    DAY_S,
    HOURS_RANGE_S,
    MINUTES_RANGE_S,
    WIDTH_S,
    SeriesQuery,
    plain,
)
from streams.connect.sinks.series_merge import EXTRA
from streams.core.clock import Clock
from streams.core.rows.built_in_tables import WindowTable
from streams.core.words.moments import iso_s, span_s
from streams.engine.windows.minutes.sketch_code import decode
from streams.http.console import reply
from streams.http.console.access.authorizer import Authorizer
from streams.http.console.parameters import Format, Parameters
from streams.http.console.response_cache import QueryKey, ResponseCache
from streams.http.console.series import columns
from streams.http.console.shards import Rows, ShardReader

SERIES_MAX = 8
POINTS_MAX = 1500
BUCKETS_MAX = 64
_AUTO = ""
_Table = Literal["", "m1", "h1", "d1"]


class RangeQuery(NamedTuple):
    """A series for each of ``metrics`` of each of ``models``; the first of both are those of ``query``."""

    query: SeriesQuery
    models: tuple[str, ...]
    metrics: tuple[str, ...]
    table: WindowTable
    buckets: int


@dataclass(eq=False)
class RangeHandler:
    _gate: Authorizer
    _shards: ShardReader
    _answers: ResponseCache
    _clock: Clock

    async def many(self, request: Request) -> Response:
        holder = self._gate.holder(request, Role.READ)
        given = Parameters(request)
        tenant = holder.tenant(given.tenant())
        now_s = self._clock.now_ms() / 1000
        asked = _asked(given, tenant, now_s)
        wanted = given.choice("format", Format, "json")
        query = asked.query
        # As written: "the last hour" is one cache key with one last good response.
        what = (asked.models, asked.metrics, asked.table, query.step_s, asked.buckets)
        question = QueryKey(SERIES, tenant, ("range", *what, *given.span_asked()))
        body = await self._answers.get(question, lambda: self._read(asked))
        return _csv(body) if wanted == "csv" else reply.json(request, body)

    async def _read(self, asked: RangeQuery) -> dict[str, Any]:
        each = [
            replace(asked.query, model=model, metric=metric)
            for metric in asked.metrics
            for model in asked.models
        ]
        found = await asyncio.gather(*(self._rows(query, asked) for query in each))
        heatmaps: list[dict[str, Any] | None] = [None] * len(each)
        if asked.buckets:
            sketches = [[(row[0], row[-EXTRA], row[1 - EXTRA]) for row in rows] for rows in found]
            models = len(asked.models)
            heatmaps = [
                heatmap
                for first in range(0, len(sketches), models)
                for heatmap in heatmaps_of(sketches[first : first + models], asked.buckets)
            ]
            found = [plain(rows) for rows in found]
        return {
            "tenant": asked.query.tenant,
            "metrics": asked.metrics,
            "table": asked.table,
            "step_s": asked.query.step_s,
            "from_s": asked.query.start_s,
            "to_s": asked.query.stop_s,
            "series": [
                {
                    "model": query.model,
                    "metric": query.metric,
                    "columns": columns(rows),
                    "heatmap": heatmap,
                }
                for query, rows, heatmap in zip(each, found, heatmaps, strict=True)
            ],
        }

    async def _rows(self, query: SeriesQuery, asked: RangeQuery) -> Rows:
        return await self._shards.of_series(query, asked.table, parts=bool(asked.buckets))


def _asked(given: Parameters, tenant: str, now_s: float) -> RangeQuery:
    models, metrics = given.names("model", SERIES_MAX), given.names("metric", SERIES_MAX)
    for name, chosen in (("model", models), ("metric", metrics)):
        if not chosen:
            raise BadRequest(f"the parameter {name} is missing")
    if len(models) * len(metrics) > SERIES_MAX:
        raise BadRequest(f"models times metrics is at most {SERIES_MAX}")
    start_s, stop_s = given.moment("from", "-1h", now_s), given.moment("to", "now", now_s)
    if stop_s <= start_s:
        raise BadRequest("from is not before to")
    named = given.choice("table", _Table, _AUTO)
    table = cast(WindowTable, named) if named else _table(stop_s - start_s)
    query = SeriesQuery(
        tenant=tenant,
        model=models[0],
        metric=metrics[0],
        start_s=start_s,
        stop_s=stop_s,
        step_s=_step_s(given.optional("step"), stop_s - start_s, WIDTH_S[table]),
    )
    return RangeQuery(query, models, metrics, table, given.number("buckets", 0, 0, BUCKETS_MAX))


def _table(range_s: int) -> WindowTable:
    if range_s <= MINUTES_RANGE_S:
        return "m1"
    return "h1" if range_s <= HOURS_RANGE_S else "d1"


def _step_s(text: str | None, range_s: int, width_s: int) -> int:
    """The requested step; else the table's grain, wider for too many points."""
    if text is None:
        return -(-range_s // (width_s * POINTS_MAX)) * width_s
    step_s = span_s(text, "step")
    if step_s % width_s:
        raise BadRequest(f"step is a whole number of the table's windows of {width_s} s")
    if range_s > step_s * POINTS_MAX:
        raise BadRequest(f"more than {POINTS_MAX} points: ask for a longer step")
    if step_s > 400 * DAY_S:
        raise BadRequest("step is at most 400d")
    return step_s


def heatmaps_of(sketches: Sequence[Rows], buckets: int) -> list[dict[str, Any]]:
    """Rows of (step, codes, counts) a series as counts by equal value steps; all series share the
    bounds, so their colours compare. Of one metric: two metrics share no bounds."""
    values = [decode(codes) for rows in sketches for _, codes, _ in rows if len(codes)]
    if not values:
        return [{"edges": [], "t": [], "counts": []} for _ in sketches]
    every = np.concatenate(values)
    low, high = float(every.min()), float(every.max())
    if low == high:
        low, high = low - max(abs(low), 1.0) / 2, high + max(abs(high), 1.0) / 2
    edges = np.linspace(low, high, buckets + 1)
    return [
        {
            "edges": edges.tolist(),
            "t": [int(step) for step, _, _ in rows],
            "counts": [_counts(codes, counts, edges) for _, codes, counts in rows],
        }
        for rows in sketches
    ]


def _counts(codes: Sequence[int], counts: Sequence[int], edges: Any) -> list[int]:
    weights = np.asarray(counts, np.float64)
    return [round(count) for count in np.histogram(decode(codes), edges, weights=weights)[0]]


def _csv(body: bytes) -> Response:
    rows = [
        (one["model"], one["metric"], iso_s(t), *numbers)
        for one in msgspec.json.decode(body)["series"]
        for t, *numbers in zip(*(one["columns"][name] for name in COLUMNS), strict=True)
    ]
    return reply.csv_file(("model", "metric", *COLUMNS), rows)
