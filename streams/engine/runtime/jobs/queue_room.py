"""Concurrency and rate limits of queues."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from streams.core.clock import Clock
from streams.engine.agents.queue_policy import QueuePolicy


class Rate:
    """Token bucket with a burst of one second's tokens. Times are monotonic seconds."""

    def __init__(self, per_s: float, now_s: float) -> None:
        self._per_s = per_s
        self._capacity = max(1.0, per_s)
        self._tokens = self._capacity
        self._since_s = now_s

    def allows(self, now_s: float) -> bool:
        self._tokens = min(self._capacity, self._tokens + (now_s - self._since_s) * self._per_s)
        self._since_s = now_s
        return self._tokens >= 1

    def take(self) -> None:
        self._tokens -= 1


class QueueRoom:
    """Applies the `QueuePolicy` of each queue. Queues without a rate are remembered only while in
    use."""

    def __init__(self, policy: Callable[[str], QueuePolicy], clock: Clock) -> None:
        self._policy = policy
        self._clock = clock
        self._under_way: Counter[str] = Counter()
        self._rates: dict[str, Rate] = {}

    def __contains__(self, queue: str) -> bool:
        policy = self._policy(queue)
        if policy.concurrency is not None and self._under_way[queue] >= policy.concurrency:
            return False
        return policy.rate_per_s is None or self._rate(queue, policy.rate_per_s).allows(
            self._clock.monotonic()
        )

    def begin(self, queue: str, *, runs: bool) -> None:
        """Begin an attempt; it takes a token only if it ``runs``."""
        rate_per_s = self._policy(queue).rate_per_s
        if rate_per_s is not None and runs:
            self._rate(queue, rate_per_s).take()
        self._under_way[queue] += 1

    def end(self, queue: str) -> None:
        self._under_way[queue] -= 1
        if not self._under_way[queue]:
            del self._under_way[queue]

    def _rate(self, queue: str, per_s: float) -> Rate:
        return self._rates.setdefault(queue, Rate(per_s, self._clock.monotonic()))
