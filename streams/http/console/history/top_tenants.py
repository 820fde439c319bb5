"""GET /api/tenants/top: which tenants send most, which fail most and since when, and whose events come latest."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from streams.connect.access.tokens import Role
from streams.connect.cache.kind import OVERVIEW
from streams.core.clock import Clock
from streams.http.console import reply
from streams.http.console.access.authorizer import Authorizer
from streams.http.console.history.history_handler import RANGES_S, Range
from streams.http.console.parameters import Parameters
from streams.http.console.response_cache import QueryKey, ResponseCache
from streams.http.console.shards import Rows, ShardReader

TOP: Final = 10
LATE_S: Final = 300
"""A minute of a series is late if it was last written more than this after its end."""

_EVENTS = """
SELECT tenant, sum(n), uniq(model, metric), count(),
    countIf(toUnixTimestamp(at) - toUnixTimestamp(w) > 60 + {late:UInt32}),
    max(toUnixTimestamp(at) - toUnixTimestamp(w)) - 60
FROM m1_local FINAL
WHERE w >= toDateTime({start:UInt32}, 'UTC')
    AND ({tenant:String} = '' OR tenant = {tenant:String})
GROUP BY tenant
"""
_DEAD = """
SELECT tenant, error_code, count(), toUnixTimestamp64Milli(min(ts)), toUnixTimestamp64Milli(max(ts))
FROM dead_letters_local FINAL
WHERE ts >= toDateTime64({start:UInt32}, 3, 'UTC')
    AND ({tenant:String} = '' OR tenant = {tenant:String})
GROUP BY tenant, error_code
"""


@dataclass(eq=False)
class TopTenantsHandler:
    """A bound token gets its own tenant only."""

    _gate: Authorizer
    _shards: ShardReader
    _answers: ResponseCache
    _clock: Clock

    async def show(self, request: Request) -> Response:
        holder, given = self._gate.holder(request, Role.READ), Parameters(request)
        range_ = given.choice("range", Range, "1h")
        tenant = holder.token.tenant or ""
        question = QueryKey(OVERVIEW, tenant, ("top-tenants", range_))
        answer = await self._answers.get(question, lambda: self._load(tenant, RANGES_S[range_]))
        return reply.json(request, answer)

    async def _load(self, tenant: str, range_s: int) -> dict[str, Any]:
        given = {"tenant": tenant, "start": self._clock.now_ms() // 1000 - range_s}
        events, dead = await asyncio.gather(
            self._shards.of_all(_EVENTS, {**given, "late": LATE_S}),
            self._shards.of_all(_DEAD, given),
        )
        return {
            "range_s": range_s,
            "late_s": LATE_S,
            **_ranked(events, dead),
            "late": _late(events),
        }


def _late(events: Rows) -> list[dict[str, Any]]:
    """The tenants with the most late minutes, at most `TOP`, in descending order."""
    minutes: Counter[str] = Counter()
    late: Counter[str] = Counter()
    latest: dict[str, int] = {}
    for tenant, _, _, written, of_them, after_s in events:
        minutes[tenant] += written
        late[tenant] += of_them
        latest[tenant] = max(after_s, latest.get(tenant, 0))
    return [
        {"tenant": tenant, "minutes": minutes[tenant], "late": count, "latest_s": latest[tenant]}
        for tenant, count in _first(+late)
    ]


def _ranked(events: Rows, dead: Rows) -> dict[str, Any]:
    """``sending`` and ``failing``, each at most `TOP`, in descending order."""
    counted: Counter[str] = Counter()
    series: Counter[str] = Counter()
    for tenant, count, of_shard, *_ in events:
        counted[tenant] += count
        # A series is on one shard; one that moved in this range counts on both.
        series[tenant] += of_shard
    failing: dict[str, dict[str, Any]] = {}
    for tenant, code, count, first_ms, last_ms in dead:
        one = failing.setdefault(
            tenant, {"first_ms": first_ms, "last_ms": last_ms, "codes": Counter[str]()}
        )
        one["codes"][code] += count
        one["first_ms"] = min(one["first_ms"], first_ms)
        one["last_ms"] = max(one["last_ms"], last_ms)
    letters = Counter({tenant: sum(one["codes"].values()) for tenant, one in failing.items()})
    return {
        "tenants": len(counted.keys() | letters.keys()),
        "events": counted.total(),
        "dead_letters": letters.total(),
        "sending": [
            {"tenant": tenant, "events": count, "series": series[tenant]}
            for tenant, count in _first(counted)
        ],
        "failing": [
            {
                "tenant": tenant,
                "dead_letters": count,
                "events": counted[tenant],
                "first_ms": failing[tenant]["first_ms"],
                "last_ms": failing[tenant]["last_ms"],
                "code": _first(failing[tenant]["codes"])[0][0],
            }
            for tenant, count in _first(letters)
        ],
    }


def _first(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda one: (-one[1], one[0]))[:TOP]
