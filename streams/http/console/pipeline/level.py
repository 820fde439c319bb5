"""The degradation level of the service, as the console reads it."""

from __future__ import annotations

from typing import Final

from streams.core.clock import Clock
from streams.core.degradation.degradation import REDIS, shard_signal
from streams.core.degradation.level import Level, Standing
from streams.engine.health.live_workers import standing
from streams.http.console.pipeline.workers import Workers

_LOOK_S: Final = 1.0


class Levels:
    """The levels of the known workers (streams/core/degradation), read once a second."""

    def __init__(self, workers: Workers, clock: Clock) -> None:
        self._workers = workers
        self._clock = clock
        self._standing: Standing | None = None
        self._looked_at: float | None = None

    def now(self) -> Standing | None:
        """None without a known worker."""
        at = self._clock.monotonic()
        if self._looked_at is None or at - self._looked_at >= _LOOK_S:
            self._standing, self._looked_at = standing(self._workers.live()), at
        return self._standing

    def away(self, shard: int) -> bool:
        """The shard is at `Level.PARTIAL` or worse: caches answer instead of it."""
        return shard_signal(shard) in self._partial()

    @property
    def read_only(self) -> bool:
        """A signal other than Redis is at `Level.PARTIAL` or worse. Operations are Kafka records
        and need no Redis."""
        return bool(self._partial() - {REDIS})

    def _partial(self) -> set[str]:
        stands = self.now()
        causes = stands.causes if stands is not None else ()
        return {cause.signal for cause in causes if cause.level >= Level.PARTIAL}
