"""Quotas of a tenant, shared by all its tokens and all edges in Redis.

A request is first charged to this process's own buckets, which refuse without network access, then
to the shared ones. All are leaky buckets (request_rate.py), one per `Quota`; a request takes its
units of all or none. Costs known afterwards (`Quotas.charge`) always count, up to one period beyond
the limit.

Without Redis the local buckets decide alone: n edges grant at most n times the quota.
`dia_edge_rate_checks_total` counts which one decided. A bucket expires with its period, by Redis's
clock; if that goes back, a bucket above its maximum starts empty."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple, Protocol

from redis.asyncio import Redis

from streams.connect.access.refusals import OverQuota, RateLimited
from streams.connect.access.request_rate import RequestRate
from streams.connect.cache.redis import answering
from streams.core.clock import Clock
from streams.core.errors import BreakerOpen, CacheUnavailable
from streams.core.resilience.breaker import Breaker
from streams.core.telemetry.http_metrics import EdgeMetrics

PERIOD_S: Final = 60.0

_TAKE: Final = """
-- KEYS: buckets. ARGV: of each the microseconds of its cost, and of a full bucket; then '1' to count
-- without asking, up to two full buckets.
-- Returns '0 0', or the place of the bucket with the longest wait and its microseconds.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local full, longest, after, forced = 0, 0, {}, ARGV[#ARGV] == '1'
for i, key in ipairs(KEYS) do
  local cost, period = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
  local empty_at = math.max(now, tonumber(redis.call('GET', key) or '0') or 0)
  if empty_at - now > 2 * period then empty_at = now end
  after[i] = empty_at + cost
  local wait = after[i] - now - period
  if forced then after[i] = math.min(after[i], now + 2 * period)
  elseif wait > longest then full, longest = i, wait end
end
if full == 0 then
  for i, key in ipairs(KEYS) do
    redis.call('SET', key, string.format('%.0f', after[i]),
               'PX', string.format('%.0f', math.ceil((after[i] - now) / 1000) + 1))
  end
end
return string.format('%d %.0f', full, math.ceil(longest))
"""


class Quota(StrEnum):
    REQUESTS = "requests"
    EVENTS = "events"
    BYTES = "bytes"
    """of request bodies with events"""
    SIMULATIONS = "simulations"
    """events that request a simulation"""
    REFUSED_US = "refused_us"
    """microseconds of edge CPU for refused events"""


Costs = Mapping[Quota, int]


class Wait(NamedTuple):
    quota: Quota
    seconds: float


class SharedBuckets(Protocol):
    """Raises `CacheUnavailable` after its timeout."""

    async def take(self, client: str, costs: Costs, limits: Costs, period_s: float) -> Wait | None:
        """All or none. None: counted."""
        ...

    async def charge(self, client: str, costs: Costs, limits: Costs, period_s: float) -> None:
        """In any case, up to two full buckets."""
        ...

    async def close(self) -> None: ...


class RedisBuckets:
    """``surface`` separates the quotas of different kinds of processes."""

    def __init__(self, client: Redis, surface: str) -> None:
        self._client = client
        self._surface = surface
        self._take = client.register_script(_TAKE)

    async def take(self, client: str, costs: Costs, limits: Costs, period_s: float) -> Wait | None:
        place, wait_us = await self._counted(client, costs, limits, period_s, forced=False)
        return Wait([*costs][place - 1], wait_us / 1e6) if place else None

    async def charge(self, client: str, costs: Costs, limits: Costs, period_s: float) -> None:
        await self._counted(client, costs, limits, period_s, forced=True)

    async def _counted(
        self, client: str, costs: Costs, limits: Costs, period_s: float, *, forced: bool
    ) -> tuple[int, int]:
        period_us = round(period_s * 1e6)
        # The braces keep the buckets of a client on one node of a cluster.
        keys = [f"dia:rate:{{{self._surface}:{client}}}:{quota}" for quota in costs]
        asked: list[int] = []
        for quota, cost in costs.items():
            asked += (math.ceil(cost * period_us / limits[quota]), period_us)
        with answering():
            found = await self._take(keys=keys, args=[*asked, int(forced)])
        place, wait_us = map(int, found.split())
        return place, wait_us

    async def close(self) -> None:
        await self._client.aclose(close_connection_pool=True)


@dataclass(slots=True)
class MemoryBuckets:
    """For tests; ``away`` simulates an unreachable Redis."""

    clock: Clock
    away: bool = False
    _rates: dict[tuple[Quota, int, float], RequestRate] = field(default_factory=dict)

    async def take(self, client: str, costs: Costs, limits: Costs, period_s: float) -> Wait | None:
        if self.away:
            raise CacheUnavailable("Redis is away")
        return _take(self._rates_of(costs, limits, period_s), client, costs)

    async def charge(self, client: str, costs: Costs, limits: Costs, period_s: float) -> None:
        if self.away:
            raise CacheUnavailable("Redis is away")
        for quota, rate in self._rates_of(costs, limits, period_s).items():
            rate.charge(client, costs[quota])

    async def close(self) -> None:
        """No effect: it holds no connection."""

    def _rates_of(self, costs: Costs, limits: Costs, period_s: float) -> dict[Quota, RequestRate]:
        return {quota: self._rate(quota, limits[quota], period_s) for quota in costs}

    def _rate(self, quota: Quota, limit: int, period_s: float) -> RequestRate:
        made = RequestRate(self.clock, limit=limit, period_s=period_s)
        return self._rates.setdefault((quota, limit, period_s), made)


class Quotas:
    """``limits`` within ``period_s``. ``buckets`` None: no Redis."""

    def __init__(
        self,
        clock: Clock,
        metrics: EdgeMetrics,
        *,
        limits: Costs,
        period_s: float = PERIOD_S,
        buckets: SharedBuckets | None = None,
        breaker: Breaker | None = None,
    ) -> None:
        assert (buckets is None) == (breaker is None), "what may be away has a breaker before it"
        self._own = {
            quota: RequestRate(clock, limit=limit, period_s=period_s)
            for quota, limit in limits.items()
        }
        self._limits = limits
        self._period_s = period_s
        self._buckets = buckets
        self._breaker = breaker
        self._metrics = metrics

    async def take(self, client: str, costs: Costs) -> None:
        """All or nothing. Raises `RateLimited` and `OverQuota` with the seconds to wait."""
        found = _take(self._own, client, costs)
        if found is None:
            found = await self._shared(client, costs)
            if found is not None:
                for quota, cost in costs.items():
                    self._own[quota].give_back(client, cost)
        if found is not None:
            raise self._refusal(found)

    async def charge(self, client: str, costs: Costs) -> None:
        """In any case; the next `take` waits for the excess."""
        for quota, cost in costs.items():
            self._own[quota].charge(client, cost)
        if self._buckets is not None and self._breaker is not None:
            buckets, limits, period_s = self._buckets, self._limits, self._period_s
            with suppress(CacheUnavailable, BreakerOpen):
                await self._breaker.call(lambda: buckets.charge(client, costs, limits, period_s))

    async def close(self) -> None:
        if self._buckets is not None:
            await self._buckets.close()

    async def _shared(self, client: str, costs: Costs) -> Wait | None:
        if self._buckets is not None and self._breaker is not None:
            buckets, limits, period_s = self._buckets, self._limits, self._period_s
            try:
                found = await self._breaker.call(
                    lambda: buckets.take(client, costs, limits, period_s)
                )
            except (CacheUnavailable, BreakerOpen):
                pass
            else:
                self._metrics.rate_checks.labels("shared").inc()
                return found
        self._metrics.rate_checks.labels("local").inc()
        return None

    def _refusal(self, found: Wait) -> RateLimited:
        self._metrics.over_quota.labels(found.quota).inc()
        kind = RateLimited if found.quota is Quota.REQUESTS else OverQuota
        limit = self._limits[found.quota]
        what = f"{limit} {found.quota}"
        if found.quota is Quota.REFUSED_US:
            what = f"{limit / 1e6:g} s of the processor for events that are refused"
        return kind(f"more than {what} within {self._period_s:g} s", retry_after_s=found.seconds)


def _take(rates: Mapping[Quota, RequestRate], client: str, costs: Costs) -> Wait | None:
    """All or none."""
    waits = [Wait(quota, rates[quota].wait_s(client, cost)) for quota, cost in costs.items()]
    longest = max(waits, key=lambda wait: wait.seconds)
    if longest.seconds > 0:
        return longest
    for quota, cost in costs.items():
        rates[quota].charge(client, cost)
    return None
