"""Trying again what failed in passing: a fixed schedule with jitter, and a budget per partition.

1. A `TransientError` whose disposition is RETRY is tried again after each of ``pauses_s``.
2. Each retry costs a token of the partition's budget, each new event earns a part of one: while
   everything fails, almost nothing is retried, and an outage is not made worse by those it hits.
3. Out of pauses, or of tokens: `RetriesExhausted`, and the event becomes a dead letter.
4. An error whose disposition is PAUSE (an open breaker) is no failure of the event and costs
   nothing: it passes through at once, and the caller that runs the event waits.

Only the event waits here. A caller that runs several events of different keys side by side goes on
with the others, up to the bound of events in flight.

tenacity, and stamina on top of it, were considered. They wait on the event loop's own clock and
draw from the global random generator, so the simulation could neither move their time nor repeat
a run; and neither knows a budget that calls share.
"""

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
    """``jitter`` is the share by which a pause may be longer or shorter. ``budget_max`` retries
    are there at first, and never more; an event earns ``budget_per_event``."""

    pauses_s: tuple[float, ...] = (1.0, 2.0, 4.0)
    jitter: float = 0.2
    budget_max: float = 100.0
    budget_per_event: float = 0.1

    @property
    def longest_s(self) -> float:
        """The most one event can wait in all."""
        return sum(self.pauses_s) * (1 + self.jitter)


class RetryBudget:
    """The retries a partition may still spend."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._tokens = policy.budget_max

    def earn(self) -> None:
        """An event begins."""
        policy = self._policy
        self._tokens = min(policy.budget_max, self._tokens + policy.budget_per_event)

    def spend(self) -> bool:
        """Take one token for one retry; False when there is none."""
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Retrier:
    """Runs the attempts of one partition's events. The same ``seed`` draws the same pauses."""

    def __init__(self, policy: RetryPolicy, clock: Clock, seed: int) -> None:
        self._policy = policy
        self._clock = clock
        self._random = random.Random(seed)
        self._budget = RetryBudget(policy)

    async def run(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """``await attempt()``, again while it fails in passing.

        Raises `RetriesExhausted` from the last `TransientError`; any other error at once.
        """
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
        f"given up after {tried} attempts, {why}; the last said {last.code}: {last}", tried
    )
