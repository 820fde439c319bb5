"""Limits answers per address: excess requests wait, and beyond a bound are refused. The health port
has no tokens."""

from __future__ import annotations

import math
from typing import Final

from streams.core.clock import Clock

ADDRESSES_MAX: Final = 1000


class AnswerPace:
    """``per_s`` answers per second and address, ``burst`` at once; at most ``waiting_max`` wait."""

    def __init__(self, clock: Clock, *, per_s: float, burst: int, waiting_max: int) -> None:
        self._clock = clock
        self._spacing_s = 1 / per_s
        self._burst_s = burst / per_s
        self._wait_max_s = waiting_max / per_s
        self._next_s: dict[str, float] = {}

    async def turn(self, address: str) -> bool:
        """Return when ``address`` may be answered; False, at once, to refuse it."""
        now_s = self._clock.monotonic()
        if address not in self._next_s and len(self._next_s) >= ADDRESSES_MAX:
            floor_s = now_s - self._burst_s
            self._next_s = {name: at for name, at in self._next_s.items() if at > floor_s}
            if len(self._next_s) >= ADDRESSES_MAX:
                return False
        at_s = max(self._next_s.get(address, -math.inf), now_s - self._burst_s) + self._spacing_s
        if at_s - now_s > self._wait_max_s:
            return False
        self._next_s[address] = at_s
        if at_s > now_s:
            await self._clock.sleep(at_s - now_s)
        return True
