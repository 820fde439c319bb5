"""GET /api/series: the figures of one key over time, as `dia query series` prints them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from streams.connect.access.tokens import Role
from streams.connect.cache.kind import SERIES
from streams.connect.sinks.window_views.view import Question, WindowReading, seconds
from streams.core.clock import Clock
from streams.core.words.moments import iso_s
from streams.http.console import reply
from streams.http.console.access.authorizer import Authorizer
from streams.http.console.parameters import Format, Parameters
from streams.http.console.response_cache import QueryKey, ResponseCache
from streams.http.console.shards import ShardReader
from streams.http.console.windows import WindowsHandler, answered, needed


@dataclass(eq=False)
class SeriesHandler:
    _gate: Authorizer
    _windows: WindowsHandler
    _shards: ShardReader
    _answers: ResponseCache
    _clock: Clock

    async def one(self, request: Request) -> Response:
        holder, given = self._gate.holder(request, Role.READ), Parameters(request)
        asked = self._windows.asked(given, holder)
        view, now_s = asked.view, self._clock.now_ms() / 1000
        chosen = {one.name: needed(one, given, 1)[0] for one in view.chosen}
        start_s = given.moment("from", "-1h", now_s)
        stop_s = given.moment("to", "now", now_s)
        step_s = given.maybe_span("step")
        step_ms = view.grains[0].width_ms if step_s is None else step_s * 1000
        grain = view.grain_for(start_s, stop_s, step_ms, now_s)
        named = asked.figures(given)
        figures = view.figures_in(grain, step_ms, named)
        left_out = view.left_out(figures, named)
        key = asked.key((*chosen.values(),))
        reading = view.reading(Question(key, grain, start_s, stop_s, step_ms), figures)
        told = {
            **asked.own,
            **{name: answered(value) for name, value in chosen.items()},
            "table": grain.table,
            "step_s": seconds(step_ms),
            "from_s": start_s,
            "to_s": stop_s,
            "left_out": left_out,
        }
        wanted = given.choice("format", Format, "json")
        # As written: "the last hour" is one cache key with one last good response.
        what = (view.name, key, step_ms, [one.name for one in figures], left_out)
        question = QueryKey(SERIES, asked.tenant, ("series", *what, *given.span_asked()))
        body = await self._answers.get(question, lambda: self._read(reading, told))
        return _csv(body) if wanted == "csv" else reply.json(request, body)

    async def _read(self, reading: WindowReading, told: Mapping[str, Any]) -> dict[str, Any]:
        columns = (await self._shards.of_windows(reading)).columns
        return {**told, "behind_s": self._shards.behind_s, "columns": columns}


def csv_rows(columns: Mapping[str, Sequence[Any]]) -> list[tuple[Any, ...]]:
    """A row for each point, with its time as text."""
    return [(iso_s(t), *figures) for t, *figures in zip(*columns.values(), strict=True)]


def _csv(body: bytes) -> Response:
    columns = msgspec.json.decode(body)["columns"]
    return reply.csv_file(tuple(columns), csv_rows(columns))
