"""GET /api/range: windows of several keys side by side, with heatmaps of their values where windows keep
sketches."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from streams.connect.access.refusals import BadRequest
from streams.connect.access.tokens import Role
from streams.connect.cache.kind import SERIES
from streams.connect.sinks.window_views.view import (
    POINTS_MAX,
    Question,
    Rows,
    WindowPoints,
    WindowReading,
    WindowView,
    seconds,
)
from streams.core.clock import Clock
from streams.core.rows.window_figures import Grain, WindowFigure
from streams.engine.windows.minutes.sketch_code import decode
from streams.http.console import reply
from streams.http.console.access.authorizer import Authorizer
from streams.http.console.parameters import Format, Parameters
from streams.http.console.response_cache import QueryKey, ResponseCache
from streams.http.console.series import csv_rows
from streams.http.console.shards import ShardReader
from streams.http.console.windows import AskedWindows, WindowsHandler, answered, needed

SERIES_MAX: Final = 8
BUCKETS_MAX: Final = 64
STEP_MAX_S: Final = 400 * 86_400


class RangeQuery(NamedTuple):
    """``keys``: values of the chosen dimensions, by name; those of the last dimension change least often.
    ``figures``: that steps of this length have; ``left_out``: the others that were asked for."""

    windows: AskedWindows
    keys: tuple[Mapping[str, Any], ...]
    grain: Grain
    start_s: int
    stop_s: int
    step_ms: int
    figures: tuple[WindowFigure, ...]
    left_out: tuple[str, ...]
    buckets: int

    def reading(self, key: Mapping[str, Any]) -> WindowReading:
        whole = self.windows.key((*key.values(),))
        question = Question(whole, self.grain, self.start_s, self.stop_s, self.step_ms)
        return self.windows.view.reading(question, self.figures, sketches=bool(self.buckets))


@dataclass(eq=False)
class RangeHandler:
    _gate: Authorizer
    _windows: WindowsHandler
    _shards: ShardReader
    _answers: ResponseCache
    _clock: Clock

    async def many(self, request: Request) -> Response:
        holder, given = self._gate.holder(request, Role.READ), Parameters(request)
        windows = self._windows.asked(given, holder)
        asked = _asked(given, windows, self._clock.now_ms() / 1000)
        wanted = given.choice("format", Format, "json")
        # As written: "the last hour" is one cache key with one last good response.
        what = (windows.view.name, asked.keys, asked.grain.table, asked.step_ms, asked.buckets)
        named = [one.name for one in asked.figures], asked.left_out
        question = QueryKey(SERIES, windows.tenant, ("range", *what, *named, *given.span_asked()))
        body = await self._answers.get(question, lambda: self._read(asked))
        return _csv(body) if wanted == "csv" else reply.json(request, body)

    async def _read(self, asked: RangeQuery) -> dict[str, Any]:
        found = await asyncio.gather(
            *(self._shards.of_windows(asked.reading(key)) for key in asked.keys)
        )
        heatmaps = _heatmaps(asked, found)
        return {
            **asked.windows.own,
            "table": asked.grain.table,
            "step_s": seconds(asked.step_ms),
            "from_s": asked.start_s,
            "to_s": asked.stop_s,
            "figures": [one.name for one in asked.figures],
            "left_out": asked.left_out,
            "behind_s": self._shards.behind_s,
            "series": [
                {**_answered(key), "columns": points.columns, "heatmap": heatmap}
                for key, points, heatmap in zip(asked.keys, found, heatmaps, strict=True)
            ],
        }


def _asked(given: Parameters, windows: AskedWindows, now_s: float) -> RangeQuery:
    view = windows.view
    keys = _keys(view, given)
    start_s, stop_s, grain = windows.span(given, now_s)
    step_ms = _step_ms(given.maybe_span("step"), stop_s - start_s, grain.width_ms)
    wanted = windows.figures(given)
    figures = view.figures_in(grain, step_ms, wanted)
    return RangeQuery(
        *(windows, keys, grain, start_s, stop_s, step_ms, figures),
        left_out=view.left_out(figures, wanted),
        buckets=given.number("buckets", 0, 0, BUCKETS_MAX) if view.sketched else 0,
    )


def _answered(key: Mapping[str, Any]) -> dict[str, Any]:
    return {name: answered(value) for name, value in key.items()}


def _keys(view: WindowView, given: Parameters) -> tuple[Mapping[str, Any], ...]:
    each = {one.name: needed(one, given, SERIES_MAX) for one in view.chosen}
    if math.prod(map(len, each.values())) > SERIES_MAX:
        raise BadRequest(f"{' times '.join(each)} is at most {SERIES_MAX} series")
    last_first = [*each][::-1]
    found = itertools.product(*(each[name] for name in last_first))
    return tuple(dict(zip(each, reversed(values), strict=True)) for values in found)


def _step_ms(step_s: int | None, range_s: int, width_ms: int) -> int:
    """The requested step; else the table's grain, longer for too many points."""
    if step_s is None:
        return -(-range_s * 1000 // (width_ms * POINTS_MAX)) * width_ms
    if step_s * 1000 % width_ms:
        raise BadRequest(f"step is a whole number of the table's windows of {width_ms / 1000:g} s")
    if range_s > step_s * POINTS_MAX:
        raise BadRequest(f"more than {POINTS_MAX} points: ask for a longer step")
    if step_s > STEP_MAX_S:
        raise BadRequest("step is at most 400d")
    return step_s * 1000


def _heatmaps(asked: RangeQuery, found: Sequence[WindowPoints]) -> list[dict[str, Any] | None]:
    """Of all series that have one value of the last dimension on one scale."""
    if not asked.buckets:
        return [None] * len(found)
    last = [*asked.keys[0]][-1]
    same = itertools.groupby(zip(asked.keys, found, strict=True), lambda one: one[0][last])
    return [
        heatmap
        for _, some in same
        for heatmap in heatmaps_of([points.sketches for _, points in some], asked.buckets)
    ]


def heatmaps_of(sketches: Sequence[Rows], buckets: int) -> list[dict[str, Any]]:
    """Rows of (step, codes, counts) a series as counts by equal value steps; all series share the
    bounds, so their colours compare. Of one metric: two metrics share no bounds."""
    steps = [row for rows in sketches for row in rows]
    lengths = [len(codes) for _, codes, _ in steps]
    if not sum(lengths):
        return [{"edges": [], "t": [], "counts": []} for _ in sketches]
    values = decode(np.concatenate([codes for _, codes, _ in steps if len(codes)]))
    weights = np.concatenate([counts for _, _, counts in steps if len(counts)])
    low, high = float(values.min()), float(values.max())
    if low == high:
        low, high = low - max(abs(low), 1.0) / 2, high + max(abs(high), 1.0) / 2
    edges = np.linspace(low, high, buckets + 1)
    # The last bucket has both of its ends.
    bucket = np.minimum(np.searchsorted(edges, values, "right") - 1, buckets - 1)
    cell = np.repeat(np.arange(len(steps)), lengths) * buckets + bucket
    counted = np.bincount(cell, weights, len(steps) * buckets).round().astype(np.int64)
    counts = iter(counted.reshape(-1, buckets).tolist())
    return [
        {
            "edges": edges.tolist(),
            "t": [int(step) for step, _, _ in rows],
            "counts": [next(counts) for _ in rows],
        }
        for rows in sketches
    ]


def _csv(body: bytes) -> Response:
    series = msgspec.json.decode(body)["series"]
    names = [name for name in series[0] if name not in ("columns", "heatmap")]
    rows = [
        (*(one[name] for name in names), *row) for one in series for row in csv_rows(one["columns"])
    ]
    return reply.csv_file((*names, *series[0]["columns"]), rows)
