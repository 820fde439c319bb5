"""How far the worker's wall clock is from the clock of the broker that appends to a partition.

A record that comes to a partition which was read to its end was appended between the answer that
said so and its arrival here. So its append time lies between those two times of the worker's clock,
shifted by the difference of the clocks: an interval, as narrow as the fetch was quick. Of records
of a backlog only this is known: none was appended after it arrived.
"""

from __future__ import annotations

from streams.core.clock import Clock
from streams.core.types import RecordBatch, Watermarks
from streams.engine.runtime.partition.idle import caught_up


class ClockGap:
    """Watches one partition."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._empty_at = -1
        self._empty_ms = 0.0
        self.ahead_s: float | None = None
        """By what the worker's clock is ahead of the broker's, at least; negative: behind. 0 where
        the records agree with equal clocks, None before any record told."""

    def observe(self, position: int | None, seen: Watermarks | None) -> None:
        """One look at the consumer's position and the broker's last answer."""
        now_s = self._clock.monotonic()
        if position is not None and seen is not None and caught_up(now_s, position, seen):
            self._empty_at = position
            self._empty_ms = self._clock.now_ms() - (now_s - seen.answered_at) * 1000

    def arrived(self, batch: RecordBatch) -> None:
        """The next records, just now."""
        if not len(batch) or not batch.append_times:
            return
        most_ms = self._clock.now_ms() - batch.last()[1]
        fresh = batch.start == self._empty_at
        if most_ms < 0:
            self.ahead_s = most_ms / 1000
        elif fresh:
            self.ahead_s = max(0.0, self._empty_ms - batch.timestamps[0]) / 1000
