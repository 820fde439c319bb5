"""The poison breaker: a bad deploy must stop a partition, not drain its topic into the DLQ.

Of the records folded in the last ``window_s`` seconds, once there are at least ``min_records``,
more than ``max_ratio`` bad ones are not a bad producer any more. The partition stops before
they are committed. After a fix of the code, the restart that deploys it reads them again; where
the records themselves are bad, `dia dlq breaker reset` lets those that are there through
(runtime/poison_register.py). A single poison record, at whatever offset, never trips it.
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
    """Watches one partition; batches that begin below ``pass_until`` are not counted."""

    def __init__(self, tp: TopicPartition, limits: PoisonLimits, pass_until: int = 0) -> None:
        self._tp = tp
        self._pass_until = pass_until
        self._limits = limits
        self._batches: deque[tuple[float, int, int]] = deque()
        self._records = 0
        self._bad = 0

    def observe(self, now_s: float, records: int, bad: int, start: int = 0) -> None:
        """A batch that begins at offset ``start`` was folded at monotonic time ``now_s``.

        Raises `PoisonStorm`.
        """
        if start < self._pass_until:
            return
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
                f"a bad deploy, not a bad record. Nothing from offset {start} on is dead-lettered. "
                f"`dia dlq breaker list` shows what stands still. Fix the schema and restart the "
                f"worker, or let what is there become dead letters: `dia dlq breaker reset`.",
                offset=start,
                bad=self._bad,
                records=self._records,
            )
