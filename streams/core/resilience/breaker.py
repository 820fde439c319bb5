"""A circuit breaker.

    closed -- enough failures --> open -- open_s passed --> half_open -- enough successes --> closed
                                    ^----------- one failure ---------------'

Half-open, it lets one call at a time through and refuses the others.

purgatory and pybreaker do not fit: they count failures without a time window and read the wall
clock themselves, which tests cannot control.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import structlog

from streams.core.clock import Clock
from streams.core.errors import BreakerOpen
from streams.core.telemetry.metrics import BREAKER_STATES, Metrics

T = TypeVar("T")
BreakerState = Literal["closed", "half_open", "open"]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerPolicy:
    """``failures`` within ``window_s`` open it for ``open_s``; ``successes`` in a row close it.
    With ``consecutive`` a success resets the failures: a dependency that answers half of the calls
    stays in use."""

    failures: int = 5
    window_s: float = 60.0
    open_s: float = 30.0
    successes: int = 3
    consecutive: bool = False


@dataclass(slots=True)
class Breaker:
    """``counts`` are the exceptions that count as failures."""

    dependency: str
    policy: BreakerPolicy
    counts: tuple[type[Exception], ...]
    clock: Clock
    metrics: Metrics
    _state: BreakerState = "closed"
    _failed_at: deque[float] = field(init=False)
    _opened_at: float = 0.0
    _succeeded: int = 0
    _trying: bool = False

    def __post_init__(self) -> None:
        self._failed_at = deque(maxlen=self.policy.failures)
        self._show()

    @property
    def state(self) -> BreakerState:
        """Half-open once ``open_s`` has passed."""
        if self._state == "open" and self.retry_after_s <= 0:
            return "half_open"
        return self._state

    @property
    def retry_after_s(self) -> float:
        """Until an open breaker lets a call through, or 0."""
        if self._state != "open":
            return 0.0
        return max(0.0, self._opened_at + self.policy.open_s - self.clock.monotonic())

    async def call(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Raises `BreakerOpen` without calling ``attempt``."""
        self._admit()
        probing = self._trying = self._state == "half_open"
        try:
            result = await attempt()
        except self.counts:
            self._failure(probing)
            raise
        else:
            self._success(probing)
            return result
        finally:
            # Also after a cancellation or an uncounted error, which prove nothing.
            if probing:
                self._trying = False

    def _admit(self) -> None:
        if self._state == "open" and self.retry_after_s <= 0:
            self._succeeded = 0
            self._enter("half_open")
        if self._state == "open" or self._trying:
            raise BreakerOpen(
                f"{self.dependency} failed {self.policy.failures} times; it is not called "
                f"for another {self.retry_after_s:.1f} s. `dia doctor` shows the cause."
            )

    def _failure(self, probing: bool) -> None:
        now_s = self.clock.monotonic()
        self._failed_at.append(now_s)
        enough = (
            len(self._failed_at) == self.policy.failures
            and now_s - self._failed_at[0] <= self.policy.window_s
        )
        if probing or (self._state == "closed" and enough):
            self._opened_at = now_s
            self._enter("open")

    def _success(self, probing: bool) -> None:
        if probing:
            self._succeeded += 1
            if self._succeeded >= self.policy.successes:
                self._failed_at.clear()
                self._enter("closed")
        elif self._state == "closed" and self.policy.consecutive:
            self._failed_at.clear()

    def _enter(self, state: BreakerState) -> None:
        self._state = state
        self._show()
        log.warning("breaker_moved", dependency=self.dependency, state=state)

    def _show(self) -> None:
        for name in BREAKER_STATES:
            self.metrics.breaker.state.labels(self.dependency, name).set(name == self._state)
