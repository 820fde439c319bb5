"""GET /api/training: the models of a tenant and their last events."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from streams.connect.access.tokens import Role
from streams.connect.cache.kind import SERIES
from streams.core.records.model_card import ModelCard
from streams.http.console import reply
from streams.http.console.access.authorizer import Authorizer
from streams.http.console.parameters import Parameters
from streams.http.console.response_cache import QueryKey, ResponseCache
from streams.http.console.shards import ShardReader

EVENTS_MAX: Final = 200
MODELS_MAX: Final = 1000

_MINE = "tenant = {tenant:String} AND ({model:String} = '' OR model = {model:String})"
_CARDS = (
    f"SELECT model, card FROM models_local FINAL WHERE {_MINE} ORDER BY model LIMIT {MODELS_MAX}"  # noqa: S608 - our own names
)
_EVENTS = f"""
SELECT model, version, run, event, alias, stage, metrics, toUnixTimestamp64Milli(ts) AS at_ms
FROM training_runs_local FINAL
WHERE {_MINE}
ORDER BY at_ms DESC, part, off
LIMIT {EVENTS_MAX}
"""  # noqa: S608 - our own names; what a client says is a parameter
_FIELDS = ("model", "version", "run", "event", "alias", "stage", "metrics", "ts_ms")


@dataclass(eq=False)
class TrainingHandler:
    _gate: Authorizer
    _shards: ShardReader
    _answers: ResponseCache

    async def models(self, request: Request) -> Response:
        holder, given = self._gate.holder(request, Role.READ), Parameters(request)
        tenant = holder.tenant(given.tenant())
        asked = {"tenant": tenant, "model": given.optional("model") or ""}

        async def load() -> dict[str, Any]:
            cards, rows = await asyncio.gather(
                *(self._shards.of_all(sql, asked) for sql in (_CARDS, _EVENTS))
            )
            events = [dict(zip(_FIELDS, row, strict=True)) for row in rows]
            events.sort(key=lambda event: -event["ts_ms"])
            return {
                "models": [_model(name, card) for name, card in sorted(map(tuple, cards))],
                "events": events[:EVENTS_MAX],
            }

        question = QueryKey(SERIES, tenant, ("training", asked["model"]))
        return reply.json(request, await self._answers.get(question, load))


def _model(name: str, text: str) -> dict[str, Any]:
    card = msgspec.json.decode(text, type=ModelCard)
    return {
        "model": name,
        "aliases": card.aliases,
        "versions": [
            {
                "version": version,
                "run": known.run_id,
                "stage": known.stage,
                "last_seen_ms": known.last_seen_ms,
            }
            for version, known in card.versions.items()
        ],
        "best": {
            metric: {
                "highest": best.highest,
                "highest_version": best.highest_version,
                "lowest": best.lowest,
                "lowest_version": best.lowest_version,
            }
            for metric, best in card.best.items()
        },
    }
