"""A rate as a bucket of tokens: a burst of at most one second's worth, then evenly."""

from __future__ import annotations


class Rate:
    """Times are monotonic seconds."""

    def __init__(self, per_s: float, now_s: float) -> None:
        self._per_s = per_s
        self._capacity = max(1.0, per_s)
        self._tokens = self._capacity
        self._since_s = now_s

    def allows(self, now_s: float) -> bool:
        """Whether one more may start now."""
        self._tokens = min(self._capacity, self._tokens + (now_s - self._since_s) * self._per_s)
        self._since_s = now_s
        return self._tokens >= 1

    def take(self) -> None:
        """One starts, after `allows` said that it may."""
        self._tokens -= 1
