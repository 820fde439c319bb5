"""What the simulations of each tenant take of the pool of this process, and which tenant must wait (H2).

A tenant has a leaky bucket of pool seconds: ``quota_s`` within a minute, counted when a job ends, whatever
came of it. While more is in the bucket than its quota, new requests of the tenant are over quota. What the
tenant already has waiting runs in its turn, and is bounded by its share of waiting requests.

Kept are the tenants whose jobs ended within the last two minutes, and those whose bucket is not empty.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import Final

from streams.connect.access.holds import Holds
from streams.core.clock import Clock
from streams.core.errors import CacheUnavailable

PERIOD_S: Final = 60.0
HOLD_MIN_S: Final = 1.0
HOLD_MAX_S: Final = 300.0
GUESS_S: Final = 5.0
"""The hold of a tenant of which no job has ended yet. A short one is corrected by the next request; a long
one would last, since edges let none through."""
_FLUSH_S: Final = 1.0


class TenantWork:
    """``quota_s`` 0: pool seconds are not bounded. ``holds`` None: edges get no holds."""

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
        """A job of the tenant has had a slot for ``pool_s``."""
        now_s = self._clock.monotonic()
        self._pass_time(now_s)
        self._ended[tenant] += 1
        if self._quota_s:
            empty_at = max(now_s, self._empty_at.get(tenant, now_s))
            self._empty_at[tenant] = empty_at + pool_s * PERIOD_S / self._quota_s

    def wait_s(self, tenant: str) -> float:
        """Seconds until the tenant is within its quota of pool seconds; 0: it is."""
        empty_at = self._empty_at.get(tenant)
        return 0.0 if empty_at is None else max(0.0, empty_at - self._clock.monotonic() - PERIOD_S)

    def time_for(self, tenant: str, jobs: int) -> float:
        """Seconds in which so many jobs of the tenant end, at the pace of its last minute or two
        and a period at most; `GUESS_S` while none has ended."""
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
        """Tell edges, until cancelled. One that Redis does not take is noted again by the next
        request that is over."""
        holds = self._holds
        while holds is not None:
            await self._clock.sleep(_FLUSH_S)
            noted, self._noted = self._noted, {}
            with suppress(CacheUnavailable):
                for tenant, seconds in noted.items():
                    await holds.hold(tenant, seconds)

    async def close(self) -> None:
        """Give up the connection to Redis."""
        if self._holds is not None:
            await self._holds.close()

    def _pass_time(self, now_s: float) -> None:
        if now_s - self._began_s < PERIOD_S:
            return
        recent = now_s - self._began_s < 2 * PERIOD_S
        self._ended_before = self._ended if recent else Counter()
        self._ended, self._began_s = Counter(), now_s
        self._empty_at = {name: at for name, at in self._empty_at.items() if at > now_s}
