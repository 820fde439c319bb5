"""How degraded the service is, as the console sees it: the one place that asks."""

from __future__ import annotations

from typing import Final

from streams.clock import Clock
from streams.console.workers import Workers
from streams.degradation.degradation import shard_signal
from streams.degradation.level import HEALTHY, Level, Standing
from streams.local.live_workers import standing

_LOOK_S: Final = 1.0


class Levels:
    """What the workers of this host measured (streams/degradation), looked up once a second."""

    def __init__(self, workers: Workers, clock: Clock) -> None:
        self._workers = workers
        self._clock = clock
        self._standing = HEALTHY
        self._looked_at: float | None = None

    def now(self) -> Standing:
        at = self._clock.monotonic()
        if self._looked_at is None or at - self._looked_at >= _LOOK_S:
            self._standing, self._looked_at = standing(self._workers.live()), at
        return self._standing

    def away(self, shard: int) -> bool:
        """The shard is at `Level.PARTIAL` or worse: it is left alone, and caches answer for it."""
        signal = shard_signal(shard)
        return any(
            cause.signal == signal and cause.level >= Level.PARTIAL for cause in self.now().causes
        )
