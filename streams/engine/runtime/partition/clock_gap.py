"""Estimates the difference between the worker's wall clock and the broker's append times.

The first record after the partition was read to its end was appended between the broker's answer
and the arrival, both read from the worker's clock. Its append time must lie in that interval, or
the clocks differ. A record of a backlog bounds one side only: it was appended before it arrived.
"""

from __future__ import annotations

from streams.core.clock import Clock
from streams.core.types import RecordBatch, Watermarks
from streams.engine.runtime.partition.idle import caught_up


class ClockGap:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._empty_at = -1
        self._empty_ms = 0.0
        self.ahead_s: float | None = None
        """Least number of seconds by which the worker's clock is ahead of the broker's; negative:
        behind. 0 if equal clocks are possible, None before the first record."""

    def observe(self, position: int | None, seen: Watermarks | None) -> None:
        """Note the consumer's position and the broker's last answer."""
        now_s = self._clock.monotonic()
        if position is not None and seen is not None and caught_up(now_s, position, seen):
            self._empty_at = position
            self._empty_ms = self._clock.now_ms() - (now_s - seen.answered_at) * 1000

    def arrived(self, batch: RecordBatch) -> None:
        """Compare the append times of records that have just arrived."""
        if not len(batch) or not batch.append_times:
            return
        most_ms = self._clock.now_ms() - batch.last()[1]
        fresh = batch.start == self._empty_at
        if most_ms < 0:
            self.ahead_s = most_ms / 1000
        elif fresh:
            self.ahead_s = max(0.0, self._empty_ms - batch.timestamps[0]) / 1000
