"""Detects that a dependency with continuous traffic (Kafka fetches, a Redis subscription) has
stopped answering."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from streams.core.clock import Clock
from streams.core.degradation.level import FINE, Level, Reading
from streams.core.errors import DiaError

ASK_AFTER_S = 5.0


class Silence:
    """``heard_at`` returns the time of the last answer (monotonic seconds) or None. ``ask`` sends a
    request, with a deadline of its own."""

    def __init__(
        self,
        name: str,
        clock: Clock,
        *,
        level: Level,
        after_s: float,
        heard_at: Callable[[], float | None],
        ask: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self._name = name
        self._clock = clock
        self._level = level
        self._after_s = after_s
        self._heard_at = heard_at
        self._ask = ask
        self._last_at = clock.monotonic()

    def reading(self) -> Reading:
        """``level`` after ``after_s`` without an answer."""
        if self._silent_s() < self._after_s:
            return FINE
        return Reading(self._level, f"{self._name} has not answered for {self._after_s:g} s")

    async def run(self) -> None:
        """Call ``ask`` after `ASK_AFTER_S` without an answer, until cancelled."""
        while True:
            await self._clock.sleep(ASK_AFTER_S)
            if self._ask is None or self._silent_s() < ASK_AFTER_S:
                continue
            try:
                await self._ask()
            except DiaError:
                continue
            self._last_at = self._clock.monotonic()

    def _silent_s(self) -> float:
        heard = self._heard_at()
        if heard is not None:
            self._last_at = max(self._last_at, heard)
        return self._clock.monotonic() - self._last_at
