"""The poison breaker: a bad deploy must stop a partition, not drain its topic into the DLQ.

Of the records folded in the last ``window_s`` seconds, once there are at least ``min_records``,
more than ``max_ratio`` bad ones are not a bad producer any more. The partition stops before
they are committed; a restart of the worker, after the fix, reads them again.
A single poison record, at whatever offset, never trips it.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from streams.errors import PoisonStorm
from streams.types import TopicPartition


class PoisonLimits(NamedTuple):
    """When to stop."""

    window_s: float
    min_records: int
    max_ratio: float


class PoisonBreaker:
    """Watches one partition."""

    def __init__(self, tp: TopicPartition, limits: PoisonLimits) -> None:
        self._tp = tp
        self._limits = limits
        self._batches: deque[tuple[float, int, int]] = deque()
        self._records = 0
        self._bad = 0

    def observe(self, now_s: float, records: int, bad: int) -> None:
        """A batch was folded at monotonic time ``now_s``. Raises `PoisonStorm`."""
        self._batches.append((now_s, records, bad))
        self._records += records
        self._bad += bad
        while self._batches[0][0] < now_s - self._limits.window_s:
            _, old_records, old_bad = self._batches.popleft()
            self._records -= old_records
            self._bad -= old_bad
        limits = self._limits
        if self._records >= limits.min_records and self._bad > limits.max_ratio * self._records:
            raise PoisonStorm(
                f"{self._bad} of the last {self._records} records of {self._tp} are bad: that is "
                f"a bad deploy, not a bad record. What is not committed is not dead-lettered. Fix the "
                f"producer or the schema and restart the worker, or raise DIA_POISON_MAX_RATIO."
            )
