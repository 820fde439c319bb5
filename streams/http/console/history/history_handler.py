"""GET /api/history: what is wrong and since when, who is behind and until when, and what changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal, TypeAlias

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from streams.connect.access.tokens import Role
from streams.connect.cache.cached_value import CachedValue
from streams.core.clock import Clock
from streams.core.types import Broker
from streams.engine.agents.job_agent import Agent
from streams.http.console import reply
from streams.http.console.access.authorizer import Authorizer
from streams.http.console.dead_letters.journals import Journals
from streams.http.console.history.ordered import OrderedChanges
from streams.http.console.history.recorder import PipelineRecorder
from streams.http.console.parameters import Parameters

Range: TypeAlias = Literal["1h", "6h", "24h"]
RANGES_S: Final[dict[str, int]] = {"1h": 3_600, "6h": 21_600, "24h": 86_400}
CHANGES_MAX: Final = 200
FRESH_S: Final = 5.0
"""An answer is the same for all its readers: one reading serves them."""


@dataclass(eq=False)
class HistoryHandler:
    """Lag, workers and orders cover every tenant, so a bound token is refused."""

    _gate: Authorizer
    _recorder: PipelineRecorder
    _broker: Broker
    _agents: Sequence[Agent]
    _journals: Journals
    _clock: Clock

    def __post_init__(self) -> None:
        self._ordered = OrderedChanges(self._broker, self._agents, self._journals, self._clock)
        self._answers = {
            range_: CachedValue(partial(self._read, range_s), FRESH_S, self._clock)
            for range_, range_s in RANGES_S.items()
        }

    async def show(self, request: Request) -> Response:
        holder, given = self._gate.holder(request, Role.READ), Parameters(request)
        holder.require_everyone()
        return reply.json(request, await self._answers[given.choice("range", Range, "1h")].get())

    async def _read(self, range_s: int) -> bytes:
        now_ms = self._clock.now_ms()
        since_ms = now_ms - range_s * 1000
        ordered = await self._ordered.read()
        changes = [
            *self._recorder.changes.since(since_ms),
            *(one for one in ordered or () if one.at_ms >= since_ms),
        ]
        changes.sort(key=lambda one: -one.at_ms)
        found: dict[str, Any] = {
            "as_of_ms": now_ms,
            "observed_since_ms": self._recorder.began_ms,
            "range_s": range_s,
            "alerts": self._recorder.alerts.standing(),
            "backlogs": [one._asdict() for one in self._recorder.backlogs.backlogs()],
            "unread": self._recorder.backlogs.series(since_ms),
            "changes": [one._asdict() for one in changes[:CHANGES_MAX]],
            "changes_left_out": max(0, len(changes) - CHANGES_MAX),
            "orders_known": ordered is not None,
        }
        return msgspec.json.encode(found)

    async def close(self) -> None:
        for answer in self._answers.values():
            await answer.close()
        await self._ordered.close()
