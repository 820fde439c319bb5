"""GET /api/ranking: which model of a metric has the highest or the lowest figure of a range."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from starlette.requests import Request
from starlette.responses import Response

from streams.connect.access.refusals import BadRequest
from streams.connect.access.tokens import Role
from streams.connect.cache.kind import SERIES
from streams.connect.sinks.window_views.view import Question, WindowReading
from streams.core.clock import Clock
from streams.http.console import reply
from streams.http.console.access.authorizer import Authorizer
from streams.http.console.parameters import Parameters
from streams.http.console.response_cache import QueryKey, ResponseCache
from streams.http.console.shards import ShardReader
from streams.http.console.windows import WindowsHandler, needed

RANKED_MAX: Final = 50
Order: TypeAlias = Literal["highest", "lowest"]


@dataclass(eq=False)
class RankingHandler:
    _gate: Authorizer
    _windows: WindowsHandler
    _shards: ShardReader
    _answers: ResponseCache
    _clock: Clock

    async def show(self, request: Request) -> Response:
        holder, given = self._gate.holder(request, Role.READ), Parameters(request)
        asked = self._windows.asked(given, holder)
        view = asked.view
        of = given.name("of", view.chosen[0].name)
        if of not in [one.name for one in view.chosen]:
            raise BadRequest(f"of is one of {', '.join(one.name for one in view.chosen)}, not {of}")
        beside = {one.name: needed(one, given, 1)[0] for one in view.chosen if one.name != of}
        start_s, stop_s, grain = asked.span(given, self._clock.now_ms() / 1000)
        by, order = given.name("by", "mean"), given.choice("order", Order, "highest")
        view.wanted([by])
        key = asked.key(tuple(beside.get(one.name, "") for one in view.chosen))
        reading = view.ranking(Question(key, grain, start_s, stop_s, grain.width_ms), of)
        told = {
            **asked.own,
            "of": of,
            **beside,
            "table": grain.table,
            "from_s": start_s,
            "to_s": stop_s,
            "by": by,
            "order": order,
        }
        what = ("ranking", view.name, of, key, grain.table, by, order, *given.span_asked())
        question = QueryKey(SERIES, asked.tenant, what)
        return reply.json(
            request, await self._answers.get(question, lambda: self._read(reading, told))
        )

    async def _read(self, reading: WindowReading, told: dict[str, Any]) -> dict[str, Any]:
        columns = (await self._shards.of_windows(reading)).columns
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        # Rows of equal figures keep the order of their names.
        rows.sort(key=lambda row: row[told["by"]], reverse=told["order"] == "highest")
        return {
            **told,
            "behind_s": self._shards.behind_s,
            "number": len(rows),
            "ranked": rows[:RANKED_MAX],
        }
