"""Pauses between attempts."""

from __future__ import annotations

from streams.core.clock import Clock


class Backoff:
    """``first_s`` at first, doubling up to ``max_s``."""

    def __init__(self, clock: Clock, first_s: float, max_s: float) -> None:
        self._clock = clock
        self._first_s = first_s
        self._max_s = max_s
        self._next_s = first_s

    def next_s(self) -> float:
        """The caller waits."""
        pause_s = self._next_s
        self._next_s = min(2 * pause_s, self._max_s)
        return pause_s

    async def pause(self) -> None:
        await self._clock.sleep(self.next_s())

    def reset(self) -> None:
        """After a success."""
        self._next_s = self._first_s
