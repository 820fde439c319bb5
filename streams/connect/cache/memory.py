"""The shared layer in memory, for tests and the simulation; the reference for the Redis form."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from streams.connect.cache.shared import FLOOR_TTL_S, CacheKey, Listener, Notice, SharedEntry
from streams.core.clock import Clock
from streams.core.errors import CacheUnavailable


@dataclass(slots=True)
class MemoryClaim:
    shared: MemoryShared
    key: CacheKey
    token: int

    async def release(self) -> None:
        held = self.shared.claims.get(self.key)
        if held is not None and held[0] == self.token:
            del self.shared.claims[self.key]


@dataclass(slots=True)
class MemoryShared:
    """``away`` simulates an unreachable Redis."""

    clock: Clock
    away: bool = False
    entries: dict[CacheKey, tuple[int, bytes, float]] = field(default_factory=dict)
    floors: dict[CacheKey, tuple[int, float]] = field(default_factory=dict)
    claims: dict[CacheKey, tuple[int, float]] = field(default_factory=dict)
    told: list[bytes] = field(default_factory=list)
    """every event, in order"""
    _listeners: list[asyncio.Queue[Notice | None]] = field(default_factory=list)
    _tokens: int = 0
    _last_stamp: int = 0

    def stop(self) -> None:
        """Calls fail and connections end."""
        self.away = True
        self.cut()

    def restart(self) -> None:
        """Empty: Redis has no persistence here."""
        self.entries, self.floors, self.claims = {}, {}, {}
        self.away = False

    def cut(self) -> None:
        """A listener's queue ends with None."""
        for queue in self._listeners:
            queue.put_nowait(None)

    async def read(self, key: CacheKey) -> SharedEntry:
        self._answer()
        version, body, ends_s = self.entries.get(key, (None, None, 0.0))
        rest_s = ends_s - self.clock.monotonic()
        if rest_s <= 0:
            return SharedEntry(self._floor(key), None, None)
        return SharedEntry(self._floor(key), version, body, rest_s)

    async def floor(self, key: CacheKey, *, stamped: bool) -> int:
        self._answer()
        known = self._floor(key)
        return known if known is not None else self._raise(key, self._stamp(0) if stamped else 0)

    async def fill(self, key: CacheKey, floor: int, body: bytes, ttl_s: float) -> None:
        self._answer()
        self.entries[key] = (floor, body, self.clock.monotonic() + ttl_s)

    async def advance(
        self,
        key: CacheKey,
        version: int | None,
        body: bytes | None,
        ttl_s: float,
        *,
        floored: bool = False,
    ) -> int | None:
        self._answer()
        floor = self._floor(key)
        if floored and floor is None:
            return None
        floor = floor or 0
        wanted = self._stamp(floor) if version is None else version
        if wanted < floor:
            return floor
        self._raise(key, wanted)
        if body is None:
            self.entries.pop(key, None)
        else:
            self.entries[key] = (wanted, body, self.clock.monotonic() + ttl_s)
        await self.announce(Notice(key.cache, key.name, wanted))
        return wanted

    async def matching(self, cache: str, pattern: str) -> AsyncIterator[str]:
        self._answer()
        for key in list(self.floors):
            if key.cache == cache and fnmatchcase(key.name, pattern):
                yield key.name

    async def announce(self, notice: Notice) -> None:
        self._answer()
        for queue in self._listeners:
            queue.put_nowait(notice)

    async def tell(self, event: bytes) -> None:
        self._answer()
        self.told.append(event)

    async def claim(self, key: CacheKey, ttl_s: float) -> MemoryClaim | None:
        self._answer()
        now_s = self.clock.monotonic()
        if self.claims.get(key, (0, now_s))[1] > now_s:
            return None
        self._tokens += 1
        self.claims[key] = (self._tokens, now_s + ttl_s)
        return MemoryClaim(self, key, self._tokens)

    async def listen(self, listener: Listener) -> None:
        self._answer()
        queue: asyncio.Queue[Notice | None] = asyncio.Queue()
        self._listeners.append(queue)
        try:
            listener.connected()
            while (notice := await queue.get()) is not None:
                listener.heard(notice)
            raise CacheUnavailable("the connection was cut")
        finally:
            self._listeners.remove(queue)

    async def close(self) -> None:
        """No effect: it holds no connection."""

    def _answer(self) -> None:
        if self.away:
            raise CacheUnavailable("the shared cache is unavailable")

    def _floor(self, key: CacheKey) -> int | None:
        floor, ends_s = self.floors.get(key, (None, 0.0))
        return floor if ends_s > self.clock.monotonic() else None

    def _raise(self, key: CacheKey, floor: int) -> int:
        self.floors[key] = (floor, self.clock.monotonic() + FLOOR_TTL_S)
        return floor

    def _stamp(self, floor: int) -> int:
        # A virtual clock may not advance between two calls; Redis's clock does.
        self._last_stamp = max(self.clock.now_ms() * 1000, floor + 1, self._last_stamp + 1)
        return self._last_stamp
