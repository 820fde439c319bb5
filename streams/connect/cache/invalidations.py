"""Invalidations: received from other processes, and sent for every name that matches a pattern."""

from __future__ import annotations

from typing import Protocol

import structlog

from streams.connect.cache.kind import CacheKind
from streams.connect.cache.shared import ENTRY_TTL_S, CacheKey, Notice, SharedCache
from streams.core.clock import Clock
from streams.core.errors import CacheUnavailable
from streams.core.resilience.backoff import Backoff
from streams.core.telemetry.metrics import Metrics

_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0

log = structlog.get_logger(__name__)


class Layer(Protocol):
    @property
    def name(self) -> str: ...

    def forget(self, name: str, version: int) -> None: ...

    def clear(self) -> None: ...


class Invalidations:
    """One subscription for all caches of a process."""

    def __init__(self, shared: SharedCache, clock: Clock, metrics: Metrics) -> None:
        self.live = False
        self._shared = shared
        self._clock = clock
        self._metrics = metrics
        self._layers: dict[str, Layer] = {}

    def add(self, layer: Layer) -> None:
        """A cache name has one layer in a process."""
        assert layer.name not in self._layers, f"two caches are named {layer.name}"
        self._layers[layer.name] = layer

    async def run(self) -> None:
        """Listen until cancelled; reconnects without limit."""
        backoff = Backoff(self._clock, _FIRST_PAUSE_S, _LONGEST_PAUSE_S)
        while True:
            try:
                await self._shared.listen(self)
            except CacheUnavailable as error:
                if self.live:
                    log.warning("cache_subscription_lost", why=str(error))
                    backoff.reset()
            except Exception:
                log.exception("cache_listener_failed")
            finally:
                self._set(live=False)
            await backoff.pause()

    def connected(self) -> None:
        """Every layer may have missed invalidations."""
        for layer in self._layers.values():
            layer.clear()
        self._metrics.cache.resyncs.inc()
        self._set(live=True)

    def heard(self, notice: Notice) -> None:
        layer = self._layers.get(notice.cache)
        if layer is None:
            return
        self._metrics.cache.invalidations.labels(notice.cache, "heard").inc()
        if notice.name is None:
            layer.clear()
        else:
            layer.forget(notice.name, notice.version)

    def _set(self, *, live: bool) -> None:
        self.live = live
        self._metrics.cache.live.set(live)


async def sweep(shared: SharedCache, kind: CacheKind, pattern: str) -> int:
    """In Redis and in every process; returns their number. Raises `CacheUnavailable` after a part
    of them; repeating is harmless."""
    names = {name async for name in shared.matching(kind.name, pattern)}
    for name in sorted(names):
        key = CacheKey(kind.name, name)
        # A stamp would exceed every version of the source, so its own floor is used.
        floor = (await shared.read(key)).floor or 0
        await shared.advance(key, floor if kind.versioned else None, None, ENTRY_TTL_S)
    # Clears names that are only in the L1 of a process and have no floor.
    await shared.announce(Notice(kind.name, None, 0))
    return len(names)
