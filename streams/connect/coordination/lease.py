"""Leases: `hold` acquires a name, renews it, and reports its loss."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import structlog

from streams.core.clock import Clock
from streams.core.errors import CacheUnavailable, LeaseLost, LockBusy

_RETRY_S = 0.2
_RENEWALS = 3
"""of one lease: two may fail before it expires"""

log = structlog.get_logger(__name__)


class Grant(NamedTuple):
    """``token`` is the owner's secret, ``fence`` rises with every grant."""

    name: str
    token: str
    fence: int


class Locks(Protocol):
    """Calls raise `CacheUnavailable`."""

    async def acquire(self, name: str, ttl_s: float) -> Grant | None:
        """L1 to L3; None while another process owns it."""
        ...

    async def renew(self, grant: Grant, ttl_s: float) -> bool:
        """False when the grant was lost."""
        ...

    async def release(self, grant: Grant) -> None: ...


@dataclass(slots=True)
class Lease:
    """A grant and its end by this process's clock."""

    grant: Grant
    ttl_s: float
    clock: Clock
    until_s: float

    @property
    def fence(self) -> int:
        return self.grant.fence

    @property
    def held(self) -> bool:
        """No other process can own the name now, unless Redis lost data."""
        return self.clock.monotonic() < self.until_s

    def check(self) -> None:
        """Raises `LeaseLost`. Call it before each step that needs the lock."""
        if not self.held:
            raise LeaseLost(
                f"the lock {self.grant.name!r} was not renewed within {self.ttl_s:g} s: another "
                f"process may have it. Completed steps stand; run it again for the rest."
            )

    async def renew(self, locks: Locks) -> None:
        """L4. Raises `CacheUnavailable`; the lease continues until its end."""
        asked_s = self.clock.monotonic()
        if not self.held or not await locks.renew(self.grant, self.ttl_s):
            self.until_s = float("-inf")
        else:
            self.until_s = asked_s + self.ttl_s


async def take(locks: Locks, clock: Clock, name: str, ttl_s: float) -> Lease | None:
    """None while another process owns it. Raises `CacheUnavailable`."""
    asked_s = clock.monotonic()
    grant = await locks.acquire(name, ttl_s)
    return None if grant is None else Lease(grant, ttl_s, clock, asked_s + ttl_s)


@asynccontextmanager
async def hold(
    locks: Locks, clock: Clock, name: str, *, ttl_s: float = 30.0, wait_s: float = 0.0
) -> AsyncIterator[Lease]:
    """Raises `LockBusy` when another process owns it throughout ``wait_s``, and
    `CacheUnavailable`."""
    lease = await _taken(locks, clock, name, ttl_s, wait_s)
    renewing = asyncio.create_task(_renew(lease, locks), name=f"lease-{name}")
    try:
        yield lease
    finally:
        renewing.cancel()
        await asyncio.gather(renewing, return_exceptions=True)
        try:
            await locks.release(lease.grant)
        except CacheUnavailable:
            log.warning("lock_not_released", lock=name, ends_in_s=ttl_s)


async def _taken(locks: Locks, clock: Clock, name: str, ttl_s: float, wait_s: float) -> Lease:
    until_s = clock.monotonic() + wait_s
    while (lease := await take(locks, clock, name, ttl_s)) is None:
        if clock.monotonic() >= until_s:
            raise LockBusy(
                f"another process holds the lock {name!r}. Wait until it is done; if it died, "
                f"the lock ends within {ttl_s:g} s."
            )
        # Jitter: all waiters began together when the holder did.
        await clock.sleep(_RETRY_S * (0.5 + random.random()))
    return lease


async def _renew(lease: Lease, locks: Locks) -> None:
    while lease.held:
        await lease.clock.sleep(lease.ttl_s / _RENEWALS)
        try:
            await lease.renew(locks)
        except CacheUnavailable as error:
            log.warning("lease_not_renewed", lock=lease.grant.name, why=str(error))
