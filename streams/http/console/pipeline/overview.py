"""GET /overview: the state of the whole service."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from streams.connect.access.tokens import Role
from streams.connect.cache.cached_value import CachedValue
from streams.connect.cache.kind import OVERVIEW
from streams.core.clock import Clock
from streams.core.degradation.level import Level
from streams.core.errors import TransientError
from streams.engine.health.monitor import HealthMonitor
from streams.engine.health.rule import Health
from streams.http.console import reply
from streams.http.console.access.authorizer import Authorizer, Principal
from streams.http.console.pipeline.freshness import FreshnessSeries
from streams.http.console.pipeline.level import Levels
from streams.http.console.pipeline.services import Services
from streams.http.console.pipeline.workers import Workers, WorkerSamples
from streams.http.console.response_cache import QueryKey, ResponseCache
from streams.http.console.shards import ShardReader

LIVE_S: Final = 1.0
_MINUTES: Final = 60
_RATE_MINUTES: Final = 5
_HOUR_S: Final = 3600
_PARTS: Final = 12
"""of the hour, in the course of dead letters"""
_NULL: Final = msgspec.Raw(b"null")
_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode

_EVENTS = """
SELECT toUnixTimestamp(w) AS t, sum(n), max(toUnixTimestamp64Milli(at))
FROM m1_local FINAL
WHERE w >= toDateTime({start:UInt32}, 'UTC') AND w < toDateTime({stop:UInt32}, 'UTC')
    AND ({tenant:String} = '' OR tenant = {tenant:String})
GROUP BY t
"""
_DEAD = """
SELECT least(intDiv(toUnixTimestamp(at) - {start:UInt32}, {part_s:UInt32}), {parts:UInt32} - 1) AS part, count()
FROM dead_letters_local FINAL
WHERE at >= toDateTime({start:UInt32}, 'UTC') AND ({tenant:String} = '' OR tenant = {tenant:String})
GROUP BY part
"""


class _Live(NamedTuple):
    """The part that is the same for every tenant."""

    level: int | None
    freshness: dict[str, Any]
    fields: dict[str, Any]


@dataclass(eq=False)
class OverviewHandler:
    """Figures from the shards are cached by tenant for `OVERVIEW`'s time; everything else is at
    most `LIVE_S` old and read once for all. A bound token sees only `_of_one_tenant`."""

    _gate: Authorizer
    _shards: ShardReader
    _answers: ResponseCache
    _workers: Workers
    _services: Services
    _clock: Clock
    _levels: Levels
    _health: HealthMonitor
    _freshness: FreshnessSeries

    def __post_init__(self) -> None:
        self._live = CachedValue(self._now, LIVE_S, self._clock)

    async def show(self, request: Request) -> Response:
        return reply.json(request, await self.read(self._gate.holder(request, Role.READ)))

    async def read(self, holder: Principal) -> bytes:
        """The response of `show`, for pages."""
        tenant = holder.token.tenant or ""
        question = QueryKey(OVERVIEW, tenant, ())
        kept, live = await asyncio.gather(
            self._answers.told(question, lambda: self._load(tenant)), self._live.get()
        )
        stored = _decode(kept)
        away = stored["throughput"] == _NULL
        degraded = away or (live.level or 0) >= Level.PARTIAL
        freshness = {"newest_window_age_s": stored.pop("newest_window_age_s"), **live.freshness}
        fields = live.fields if holder.token.tenant is None else _of_one_tenant(live.fields)
        return _encode({**stored, **fields, "freshness": freshness, "degraded": degraded})

    async def close(self) -> None:
        await self._live.close()

    async def _load(self, tenant: str) -> dict[str, Any]:
        stored = await self._stored(tenant)
        throughput, row_age_s, dead = stored if stored is not None else (None, None, None)
        return {
            "throughput": throughput,
            "newest_window_age_s": row_age_s,
            "dead_letters": {"last_hour": None if dead is None else sum(dead), "course": dead},
        }

    async def _now(self) -> _Live:
        survey, services, health = await asyncio.gather(
            self._workers.survey(), self._services.read(), self._health.read()
        )
        self._freshness.take(survey.of("freshness_seconds_bucket"))
        stands = self._levels.now()
        open_now = [b.dependency for b in self._shards.breakers if b.state == "open"]
        level = stands.level if stands is not None else None
        if open_now:
            level = max(level or 0, Level.PARTIAL)
        fields = {
            "level": {
                "level": level,
                "name": Level(level).name.lower() if level is not None else "unknown",
                "reasons": [
                    *(
                        f"{cause.signal}: {cause.why}"
                        for cause in (stands.causes if stands else ())
                    ),
                    *(f"{name}: fails again and again" for name in open_now),
                    *(() if level is not None else ("no worker is known",)),
                ],
            },
            "health": {
                "verdict": health.verdict.word,
                "at_ms": health.at_ms,
                "findings": [finding.public_fields() for finding in health.findings],
            },
            "error_budget": self._freshness.budget(),
            "lag": _lag(health, survey),
            "breakers": _breakers(survey),
            "services": services,
            "workers": [
                {
                    "slot": str(worker.slot),
                    "ready": worker.ready,
                    "settled": worker.settled,
                    "partitions": len(worker.partitions),
                }
                for worker in survey.workers
            ],
        }
        return _Live(level, self._freshness.fields(), fields)

    async def _stored(self, tenant: str) -> tuple[dict[str, Any], float | None, list[int]] | None:
        """Events by minute, the age of the newest row, dead letters by part of the hour; None: ClickHouse
        is unavailable."""
        now_ms = self._clock.now_ms()
        stop_s = now_ms // 60_000 * 60
        given = {"tenant": tenant, "start": stop_s - _MINUTES * 60, "stop": stop_s + 60}
        hour = {"start": now_ms // 1000 - _HOUR_S, "part_s": _HOUR_S // _PARTS, "parts": _PARTS}
        try:
            rows, dead = await asyncio.gather(
                self._shards.of_all(_EVENTS, given),
                self._shards.of_all(_DEAD, {"tenant": tenant, **hour}),
            )
        except TransientError:
            return None
        events: Counter[int] = Counter()
        for t, count, _ in rows:
            events[t] += count
        late = stop_s - _RATE_MINUTES * 60
        whole = sum(count for t, count in events.items() if late <= t < stop_s)
        throughput = {
            "events_per_s": whole / (_RATE_MINUTES * 60),
            "minutes": {"t": sorted(events), "events": [events[t] for t in sorted(events)]},
        }
        newest_ms = max((at for _, _, at in rows), default=None)
        age_s = None if newest_ms is None else max(0, now_ms - newest_ms) / 1000
        course = [0] * _PARTS
        for part, count in dead:
            course[part] += count
        return throughput, age_s, course


def _of_one_tenant(fields: dict[str, Any]) -> dict[str, Any]:
    """Whether the service works, without what reveals the traffic of other tenants."""
    return {
        "level": {**fields["level"], "reasons": []},
        "health": {**fields["health"], "findings": []},
        "services": fields["services"],
        **dict.fromkeys(("error_budget", "lag", "breakers", "workers")),
    }


def _lag(health: Health, survey: WorkerSamples) -> dict[str, Any]:
    """Every declared partition with the broker's figures, and those of its worker where known.
    ``records`` is null unless every lag is known."""
    held = {
        (one["group"], one["topic"], one["partition"]): (str(worker.slot), one)
        for worker in survey.workers
        for one in worker.partitions
    }
    partitions = []
    for row in health.partitions:
        place = (row["group"], row["topic"], row["partition"])
        worker, said = held.get(place, (None, {}))
        partitions.append(
            {
                **{name: row[name] for name in ("group", "topic", "partition", "lag", "owner")},
                "phase": said.get("phase"),
                "paused": said.get("paused", False),
                "stopped_by": said.get("stopped_by"),
                "worker": worker,
            }
        )
    partitions.sort(key=lambda one: (one["group"], one["topic"], one["partition"]))
    return {"records": health.lag_records, "partitions": partitions}


def _breakers(survey: WorkerSamples) -> list[dict[str, str]]:
    return sorted(
        (
            {"worker": worker, "dependency": labels["dependency"], "state": labels["state"]}
            for worker, labels, value in survey.of("breaker_state")
            if value == 1
        ),
        key=lambda one: (one["dependency"], one["worker"]),
    )
