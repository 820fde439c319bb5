"""One request limit for all edges: the bucket of each client stands in Redis.

Two edges that each count for themselves let a client ask twice as often. So a request is first held
against this process's own bucket, which turns away without asking anything, and then against the one
in Redis. Both are the leaky bucket of request_rate.py. While Redis is away the own bucket decides
alone: it has counted all along, so nothing is forgiven at the moment of the change, and n edges let a
client ask at most n times as often. Which one decided is counted (`dia_edge_rate_checks_total`).

A bucket in Redis ends with its period, so their number is bounded by the clients of one period. Redis's
clock decides. If it was set back, a bucket would seem fuller than it can be: it is begun anew.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Protocol

from redis.asyncio import Redis

from streams.access.refusals import RateLimited
from streams.access.request_rate import RequestRate
from streams.cache.redis import answering
from streams.clock import Clock
from streams.errors import BreakerOpen, CacheUnavailable
from streams.resilience.breaker import Breaker
from streams.telemetry.http_metrics import EdgeMetrics

_TAKE: Final = """
-- KEYS: bucket. ARGV: microseconds a request, of a full bucket. Returns 0, or the microseconds to wait.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local spacing, period = tonumber(ARGV[1]), tonumber(ARGV[2])
local empty_at = math.max(now, tonumber(redis.call('GET', KEYS[1]) or '0'))
if empty_at - now > period then empty_at = now end
local wait = empty_at - now - (period - spacing)
if wait > 0 then return string.format('%.0f', math.ceil(wait)) end
empty_at = empty_at + spacing
redis.call('SET', KEYS[1], string.format('%.0f', empty_at),
           'PX', string.format('%.0f', math.ceil((empty_at - now) / 1000) + 1))
return '0'
"""


class SharedBuckets(Protocol):
    """Buckets that processes share. Raises `CacheUnavailable` when they cannot be reached in time."""

    async def take(self, client: str, *, limit: int, period_s: float) -> float:
        """Count one request of ``limit`` in ``period_s``. 0, or seconds to wait before the next."""
        ...

    async def close(self) -> None: ...


class RedisBuckets:
    """``surface`` tells the limits of one kind of process from those of another."""

    def __init__(self, client: Redis, surface: str) -> None:
        self._client = client
        self._surface = surface
        self._take = client.register_script(_TAKE)

    async def take(self, client: str, *, limit: int, period_s: float) -> float:
        period_us = round(period_s * 1e6)
        spacing_us = max(1, period_us // limit)
        key = f"dia:rate:{{{self._surface}:{client}}}"
        with answering():
            wait_us = await self._take(keys=[key], args=[spacing_us, period_us])
        return int(wait_us) / 1e6

    async def close(self) -> None:
        await self._client.aclose(close_connection_pool=True)


@dataclass(slots=True)
class MemoryBuckets:
    """In memory, for tests: ``away`` makes it fail as an absent Redis does."""

    clock: Clock
    away: bool = False
    _empty_at: dict[str, float] = field(default_factory=dict)

    async def take(self, client: str, *, limit: int, period_s: float) -> float:
        if self.away:
            raise CacheUnavailable("Redis is away")
        now_s, spacing_s = self.clock.monotonic(), period_s / limit
        empty_at = max(now_s, self._empty_at.get(client, now_s))
        wait_s = empty_at - now_s - (period_s - spacing_s)
        # Sums of doubles: a client that came back exactly when told to must be let in.
        if wait_s > 1e-9:
            return wait_s
        self._empty_at[client] = empty_at + spacing_s
        return 0.0

    async def close(self) -> None:
        """Nothing is held open."""


class SharedRate:
    """See the module docstring. ``buckets`` None: there is no Redis."""

    def __init__(
        self,
        clock: Clock,
        metrics: EdgeMetrics,
        *,
        limit: int,
        period_s: float,
        buckets: SharedBuckets | None = None,
        breaker: Breaker | None = None,
    ) -> None:
        assert (buckets is None) == (breaker is None), "what may be away has a breaker before it"
        self._own = RequestRate(clock, limit=limit, period_s=period_s)
        self._limit = limit
        self._period_s = period_s
        self._buckets = buckets
        self._breaker = breaker
        self._checks = metrics.rate_checks

    async def take(self, client: str) -> None:
        """Count one request. Raises `RateLimited`, saying when the next one may come."""
        self._own.take(client)
        wait_s = await self._shared(client)
        if wait_s > 0:
            self._own.give_back(client)
            raise RateLimited("too many requests of this client", retry_after_s=wait_s)

    async def close(self) -> None:
        if self._buckets is not None:
            await self._buckets.close()

    async def _shared(self, client: str) -> float:
        if self._buckets is not None and self._breaker is not None:
            buckets, limit, period_s = self._buckets, self._limit, self._period_s
            try:
                wait_s = await self._breaker.call(
                    lambda: buckets.take(client, limit=limit, period_s=period_s)
                )
            except (CacheUnavailable, BreakerOpen):
                pass
            else:
                self._checks.labels("shared").inc()
                return wait_s
        self._checks.labels("local").inc()
        return 0.0
