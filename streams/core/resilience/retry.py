"""Retries with a fixed schedule, jitter, and a budget per partition.

1. A `TransientError` of disposition RETRY is retried after each of ``pauses_s``.
2. Each retry costs a token of the partition's budget; each new event earns part of one.
3. Without pauses or tokens left, `RetriesExhausted` makes the event a dead letter.
4. An error of disposition PAUSE (an open breaker) costs nothing and passes through; the caller
waits.

tenacity and stamina do not fit: they wait on the loop's clock and use the global random generator,
which a simulation cannot control, and have no shared budget."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from streams.core.clock import Clock
from streams.core.errors import Disposition, TransientError
from streams.core.records.bad_records import RetriesExhausted

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """``jitter`` is the share by which a pause varies. The budget starts at ``budget_max``, its
    maximum; an event earns ``budget_per_event``."""

    pauses_s: tuple[float, ...] = (1.0, 2.0, 4.0)
    jitter: float = 0.2
    budget_max: float = 100.0
    budget_per_event: float = 0.1

    @property
    def longest_s(self) -> float:
        return sum(self.pauses_s) * (1 + self.jitter)


class RetryBudget:
    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._tokens = policy.budget_max

    def earn(self) -> None:
        """An event begins."""
        policy = self._policy
        self._tokens = min(policy.budget_max, self._tokens + policy.budget_per_event)

    def spend(self) -> bool:
        """False without a token for one more retry."""
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Retrier:
    """Runs the attempts of one partition's events. Pauses depend on ``seed``."""

    def __init__(self, policy: RetryPolicy, clock: Clock, seed: int) -> None:
        self._policy = policy
        self._clock = clock
        self._random = random.Random(seed)
        self._budget = RetryBudget(policy)

    async def run(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Raises `RetriesExhausted` from the last `TransientError`; any other error at once."""
        self._budget.earn()
        tried = 1
        for pause_s in self._policy.pauses_s:
            try:
                return await attempt()
            except TransientError as error:
                if error.disposition is not Disposition.RETRY:
                    raise
                if not self._budget.spend():
                    raise _exhausted(tried, error, "the partition's budget is spent") from error
            await self._clock.sleep(self._jittered(pause_s))
            tried += 1
        try:
            return await attempt()
        except TransientError as error:
            if error.disposition is not Disposition.RETRY:
                raise
            raise _exhausted(tried, error, "its retries are used up") from error

    def _jittered(self, pause_s: float) -> float:
        jitter = self._policy.jitter
        return pause_s * self._random.uniform(1 - jitter, 1 + jitter)


def _exhausted(tried: int, last: TransientError, why: str) -> RetriesExhausted:
    return RetriesExhausted(
        f"given up after {tried} attempts, {why}; last error: {last.code}: {last}", tried
    )
