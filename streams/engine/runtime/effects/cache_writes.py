"""Writes committed changes of cached values to Redis until it accepts them.

The state owes each change. A newer change of a name replaces a waiting one; each names its version,
so repeats and late arrivals change nothing (streams/connect/cache). The number of names bounds the
queue.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from streams.connect.cache.shared import ENTRY_TTL_S, CacheKey, SharedCache, present
from streams.core.clock import Clock
from streams.core.errors import CacheUnavailable
from streams.core.resilience.backoff import Backoff
from streams.core.telemetry.metrics import Metrics
from streams.engine.runtime.effects.effects import CacheChange

_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0
_AT_ONCE = 16

log = structlog.get_logger(__name__)

Done = Callable[[], None]


class CacheWrites:
    """The changes of one process. ``shared`` None: no shared cache, each change is done at once."""

    def __init__(self, shared: SharedCache | None, clock: Clock, metrics: Metrics) -> None:
        self._shared = shared
        self._clock = clock
        self._metrics = metrics
        self._waiting: dict[tuple[int, str, str], tuple[object, CacheChange, Done]] = {}
        self._wake = asyncio.Event()
        self._away: CacheUnavailable | None = None

    def submit(self, owner: object, change: CacheChange, done: Done) -> None:
        """Write ``change`` and call ``done``, unless a newer change of the name replaces it."""
        if self._shared is None:
            done()
            return
        self._waiting[id(owner), change.cache, change.name] = (owner, change, done)
        self._wake.set()

    def forget(self, owner: object) -> None:
        """Drop the changes of ``owner``; a write in progress ends without an answer."""
        for key in [key for key, (who, _, _) in self._waiting.items() if who is owner]:
            del self._waiting[key]

    async def run(self) -> None:
        backoff = Backoff(self._clock, _FIRST_PAUSE_S, _LONGEST_PAUSE_S)
        while True:
            self._wake.clear()
            if not self._waiting:
                await self._wake.wait()
            keys = list(self._waiting)[:_AT_ONCE]
            written = await asyncio.gather(*(self._write(key) for key in keys))
            if all(written):
                backoff.reset()
            else:
                log.warning("cache_writes_deferred", names=len(self._waiting), why=str(self._away))
                await backoff.pause()

    async def _write(self, key: tuple[int, str, str]) -> bool:
        assert self._shared is not None
        entry = self._waiting.get(key)
        if entry is None:
            return True
        _, change, done = entry
        cached = CacheKey(change.cache, change.name)
        try:
            floor = await self._shared.advance(
                cached, change.version, present(change.body), ENTRY_TTL_S
            )
            if floor == change.version:
                for event in change.events:
                    await self._shared.tell(event)
        except CacheUnavailable as error:
            self._away = error
            return False
        self._metrics.cache.invalidations.labels(change.cache, "event").inc()
        if self._waiting.get(key) is entry:
            del self._waiting[key]
            done()
        return True
