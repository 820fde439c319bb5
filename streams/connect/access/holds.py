"""Holds: tenants whose simulation requests the edges refuse for a while.

 H1  a partition holds (nearly) a tenant's share of unfinished requests, or the tenant's simulations
     exceeded its pool quota: further requests become dead letters `over_quota`
     (runtime/jobs/job_partition.py)
 H2  the worker sets a hold in Redis, which expires when room is expected
     (runtime/jobs/tenant_work.py)
 H3  an edge answers a request of a held tenant with 429 and the rest of the hold; it ignores a
     hold of more than `HOLD_MAX_S`, which no worker sets

Without Redis, H1 alone decides. The last hold counts: a tenant has one partition and owner."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Protocol

from streams.connect.access.refusals import OverQuota
from streams.core.clock import Clock
from streams.core.errors import BreakerOpen, CacheUnavailable
from streams.core.resilience.breaker import Breaker

HOLD_MAX_S: Final = 300.0
"""A worker sets no longer one."""


class Holds(Protocol):
    """Raises `CacheUnavailable` when the store does not answer in time."""

    async def hold(self, tenant: str, seconds: float) -> None: ...

    async def left_s(self, tenant: str) -> float:
        """0 without a hold."""
        ...

    async def close(self) -> None: ...


@dataclass(slots=True)
class MemoryHolds:
    """For tests; ``away`` simulates an unreachable Redis."""

    clock: Clock
    away: bool = False
    _until_s: dict[str, float] = field(default_factory=dict)

    async def hold(self, tenant: str, seconds: float) -> None:
        self._answer()
        self._until_s[tenant] = self.clock.monotonic() + seconds

    async def left_s(self, tenant: str) -> float:
        self._answer()
        return max(0.0, self._until_s.get(tenant, 0.0) - self.clock.monotonic())

    async def close(self) -> None:
        """No effect: it holds no connection."""

    def _answer(self) -> None:
        if self.away:
            raise CacheUnavailable("Redis is away")


@dataclass(frozen=True, slots=True)
class HoldCheck:
    """H3. ``holds`` None: no Redis."""

    holds: Holds | None = None
    breaker: Breaker | None = None

    async def require(self, tenant: str) -> None:
        """Raises `OverQuota` with the rest of the hold."""
        if self.holds is None or self.breaker is None:
            return
        holds = self.holds
        try:
            left_s = await self.breaker.call(lambda: holds.left_s(tenant))
        except (CacheUnavailable, BreakerOpen):
            return
        if 0 < left_s <= HOLD_MAX_S:
            raise OverQuota(
                "as many simulations of this tenant wait, or have run lately, as may",
                retry_after_s=left_s,
            )
