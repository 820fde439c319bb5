"""GET /overview: how the whole stands, in one look."""

from __future__ import annotations

import asyncio
import bisect
from collections import Counter
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from streams.access.tokens import Role
from streams.cache.kind import OVERVIEW
from streams.clock import Clock
from streams.console import reply
from streams.console.answers import Answers, Question
from streams.console.gate import Gate, Holder
from streams.console.level import Levels
from streams.console.services import Services
from streams.console.shards import ShardReader
from streams.console.workers import Survey, Workers
from streams.degradation.level import Level
from streams.errors import TransientError

OBJECTIVE: Final = 0.999
WITHIN_S: Final = 10.0
"""The freshness objective of ops/prometheus/rules/slo.yaml."""
_MINUTES: Final = 60
_RATE_MINUTES: Final = 5

_EVENTS = """
SELECT toUnixTimestamp(w) AS t, sum(n), max(toUnixTimestamp64Milli(at))
FROM m1_local FINAL
WHERE w >= toDateTime({start:UInt32}, 'UTC') AND w < toDateTime({stop:UInt32}, 'UTC')
    AND ({tenant:String} = '' OR tenant = {tenant:String})
GROUP BY t
"""
_DEAD = """
SELECT count()
FROM dead_letters_local FINAL
WHERE at >= toDateTime({start:UInt32}, 'UTC') AND ({tenant:String} = '' OR tenant = {tenant:String})
"""


class OverviewDesk:
    """See the module docstring. ``read`` is for pages too."""

    def __init__(
        self,
        gate: Gate,
        shards: ShardReader,
        answers: Answers,
        workers: Workers,
        services: Services,
        clock: Clock,
        levels: Levels,
    ) -> None:
        self._gate = gate
        self._shards = shards
        self._answers = answers
        self._workers = workers
        self._services = services
        self._clock = clock
        self._levels = levels

    async def show(self, request: Request) -> Response:
        return reply.json(request, await self.read(self._gate.holder(request, Role.READ)))

    async def read(self, holder: Holder) -> bytes:
        """What `show` answers, for pages."""
        tenant = holder.token.tenant or ""
        question = Question(OVERVIEW, tenant, ())
        return await self._answers.told(question, lambda: self._load(tenant))

    async def _load(self, tenant: str) -> dict[str, Any]:
        survey, services, stored = await asyncio.gather(
            self._workers.survey(), self._services.read(), self._stored(tenant)
        )
        stands = self._levels.now()
        open_now = [b.dependency for b in self._shards.breakers if b.state == "open"]
        level = max(stands.level if stands else 0, Level.PARTIAL if open_now else Level.HEALTHY)
        throughput, row_age_s, dead = stored if stored is not None else (None, None, None)
        return {
            "degraded": stored is None or level >= Level.PARTIAL,
            "level": {
                "level": level,
                "name": Level(level).name.lower(),
                "reasons": [
                    *(
                        f"{cause.signal}: {cause.why}"
                        for cause in (stands.causes if stands else ())
                    ),
                    *(f"{name}: fails again and again" for name in open_now),
                ],
            },
            "throughput": throughput,
            "freshness": {"newest_window_age_s": row_age_s, **_quantiles(survey)},
            "error_budget": _budget(survey),
            "lag": _lag(survey),
            "dead_letters": {"last_hour": dead},
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

    async def _stored(self, tenant: str) -> tuple[dict[str, Any], float | None, int] | None:
        """Events by minute, the age of the newest row, dead letters; None: ClickHouse is away."""
        now_ms = self._clock.now_ms()
        stop_s = now_ms // 60_000 * 60
        given = {"tenant": tenant, "start": stop_s - _MINUTES * 60, "stop": stop_s + 60}
        try:
            rows, dead = await asyncio.gather(
                self._shards.of_all(_EVENTS, given),
                self._shards.of_all(_DEAD, {**given, "start": now_ms // 1000 - 3600}),
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
        return throughput, age_s, sum(row[0] for row in dead)


def _lag(survey: Survey) -> dict[str, Any]:
    partitions = [
        {
            **{name: held.get(name) for name in ("group", "topic", "partition", "lag", "phase")},
            "paused": held.get("paused", False),
            "stopped_by": held.get("stopped_by"),
            "worker": str(worker.slot),
        }
        for worker in survey.workers
        for held in worker.partitions
    ]
    partitions.sort(key=lambda one: (one["group"], one["topic"], one["partition"]))
    return {"records": sum(one["lag"] or 0 for one in partitions), "partitions": partitions}


def _breakers(survey: Survey) -> list[dict[str, str]]:
    return sorted(
        (
            {"worker": worker, "dependency": labels["dependency"], "state": labels["state"]}
            for worker, labels, value in survey.of("breaker_state")
            if value == 1
        ),
        key=lambda one: (one["dependency"], one["worker"]),
    )


def _freshness(survey: Survey) -> list[tuple[float, float]]:
    """(upper bound, events up to it) of every worker together; since they started."""
    found: Counter[float] = Counter()
    for _, labels, value in survey.of("freshness_seconds_bucket"):
        found[float(labels["le"])] += value  # type: ignore[assignment]  # counts come as floats
    return sorted(found.items())


def _quantiles(survey: Survey) -> dict[str, float | None]:
    """The upper bound of the bucket that holds the quantile, as the workers measured it; None
    beyond the last bound, and where nothing was measured."""
    buckets = _freshness(survey)
    total = buckets[-1][1] if buckets else 0.0
    found: dict[str, float | None] = {}
    for name, share in (("p50_s", 0.5), ("p95_s", 0.95), ("p99_s", 0.99)):
        at = bisect.bisect_left([count for _, count in buckets], share * total)
        bound = buckets[at][0] if total else float("inf")
        found[name] = None if bound == float("inf") else bound
    return found


def _budget(survey: Survey) -> dict[str, Any] | None:
    """What is left of the freshness objective's error budget, since the workers started."""
    counts = dict(_freshness(survey))
    total, good = counts.get(float("inf"), 0.0), counts.get(WITHIN_S, 0.0)
    if not total:
        return None
    left = 1 - (1 - good / total) / (1 - OBJECTIVE)
    return {
        "objective": OBJECTIVE,
        "within_s": WITHIN_S,
        "good": round(good),
        "total": round(total),
        "left": max(-1.0, left),
    }
