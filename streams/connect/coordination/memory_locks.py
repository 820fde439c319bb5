"""Locks in memory, for tests and for a single process without Redis."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

from streams.connect.coordination.lease import Grant
from streams.core.clock import Clock
from streams.core.errors import CacheUnavailable


@dataclass(slots=True)
class MemoryLocks:
    """``away`` simulates an unreachable Redis."""

    clock: Clock
    away: bool = False
    _held: dict[str, tuple[Grant, float]] = field(default_factory=dict)
    _fences: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    async def acquire(self, name: str, ttl_s: float) -> Grant | None:
        self._answer()
        if name in self._held and self._held[name][1] > self.clock.monotonic():
            return None
        fence = next(self._fences)
        grant = Grant(name, str(fence), fence)
        self._held[name] = (grant, self.clock.monotonic() + ttl_s)
        return grant

    async def renew(self, grant: Grant, ttl_s: float) -> bool:
        self._answer()
        if not self._owns(grant):
            return False
        self._held[grant.name] = (grant, self.clock.monotonic() + ttl_s)
        return True

    async def release(self, grant: Grant) -> None:
        self._answer()
        if self._owns(grant):
            del self._held[grant.name]

    def _owns(self, grant: Grant) -> bool:
        held = self._held.get(grant.name)
        return held is not None and held[0] == grant and held[1] > self.clock.monotonic()

    def _answer(self) -> None:
        if self.away:
            raise CacheUnavailable("the locks are away")
