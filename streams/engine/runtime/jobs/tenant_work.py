"""Limits each tenant's share of the process's pool, and holds tenants that are over it (H2).

A tenant has a leaky bucket of ``quota_s`` pool seconds a minute, filled when a job ends. While the
bucket is above its quota, new requests of the tenant are over quota. Tenants are forgotten two
minutes after their last job, once the bucket is empty.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import Final

from streams.connect.access.holds import HOLD_MAX_S, Holds
from streams.core.clock import Clock
from streams.core.errors import CacheUnavailable

PERIOD_S: Final = 60.0
HOLD_MIN_S: Final = 1.0
GUESS_S: Final = 5.0
"""hold of a tenant without an ended job: short, as the next request corrects it; during a long one
edges would let none through"""
_FLUSH_S: Final = 1.0


class TenantWork:
    """``quota_s`` 0: no limit. ``holds`` None: edges get no holds."""

    def __init__(self, clock: Clock, quota_s: float = 0.0, holds: Holds | None = None) -> None:
        self._clock = clock
        self._quota_s = quota_s
        self._holds = holds
        self._empty_at: dict[str, float] = {}
        self._ended: Counter[str] = Counter()
        self._ended_before: Counter[str] = Counter()
        self._began_s = clock.monotonic()
        self._noted: dict[str, float] = {}

    def ended(self, tenant: str, pool_s: float) -> None:
        now_s = self._clock.monotonic()
        self._pass_time(now_s)
        self._ended[tenant] = self._ended.get(tenant, 0) + 1
        if self._quota_s:
            empty_at = max(now_s, self._empty_at.get(tenant, now_s))
            self._empty_at[tenant] = empty_at + pool_s * PERIOD_S / self._quota_s

    def wait_s(self, tenant: str) -> float:
        """Seconds until the tenant is within its quota; 0 if it is."""
        empty_at = self._empty_at.get(tenant)
        return 0.0 if empty_at is None else max(0.0, empty_at - self._clock.monotonic() - PERIOD_S)

    def time_for(self, tenant: str, jobs: int) -> float:
        """Estimated seconds, at most a period, in which ``jobs`` jobs of the tenant end, from its
        last one or two minutes; `GUESS_S` if none has ended."""
        now_s = self._clock.monotonic()
        self._pass_time(now_s)
        ended = self._ended[tenant] + self._ended_before[tenant]
        before_s = PERIOD_S if self._ended_before else 0.0
        span_s = max(HOLD_MIN_S, now_s - self._began_s + before_s)
        return min(jobs * span_s / ended, PERIOD_S) if ended else GUESS_S

    def hold(self, tenant: str, seconds: float) -> None:
        """Have edges refuse requests of the tenant from the next second on."""
        if self._holds is not None:
            self._noted[tenant] = min(max(seconds, HOLD_MIN_S), HOLD_MAX_S)

    async def run(self) -> None:
        """Publish holds until cancelled. A hold that Redis refuses is repeated by the next request
        over quota."""
        holds = self._holds
        while holds is not None:
            await self._clock.sleep(_FLUSH_S)
            noted, self._noted = self._noted, {}
            with suppress(CacheUnavailable):
                for tenant, seconds in noted.items():
                    await holds.hold(tenant, seconds)

    async def close(self) -> None:
        if self._holds is not None:
            await self._holds.close()

    def _pass_time(self, now_s: float) -> None:
        if now_s - self._began_s < PERIOD_S:
            return
        recent = now_s - self._began_s < 2 * PERIOD_S
        self._ended_before = self._ended if recent else Counter()
        self._ended, self._began_s = Counter(), now_s
        self._empty_at = {name: at for name, at in self._empty_at.items() if at > now_s}
