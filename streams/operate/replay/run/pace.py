"""Rate limit over all partitions of a run."""

from __future__ import annotations

from streams.core.clock import Clock

_STEPS_PER_S = 4
LETTERS_PER_STEP = 5000
"""Without a rate: a transaction costs about 30 ms at any size."""


class ReplayPace:
    """A step is charged before it starts, so the rate is never exceeded; unused time is not
    saved."""

    def __init__(self, clock: Clock, per_s: float | None) -> None:
        self._clock = clock
        self._per_s = per_s
        self._free_at = clock.monotonic()

    @property
    def step(self) -> int:
        """Dead letters to take in one step."""
        if self._per_s is None:
            return LETTERS_PER_STEP
        return max(1, min(LETTERS_PER_STEP, int(self._per_s / _STEPS_PER_S)))

    async def take(self, letters: int) -> None:
        if self._per_s is None:
            return
        now_s = self._clock.monotonic()
        # A slow step is credited up to one slot: else every transaction's duration would lower the
        # rate.
        self._free_at = max(self._free_at, now_s - 1 / _STEPS_PER_S) + letters / self._per_s
        if self._free_at > now_s:
            await self._clock.sleep(self._free_at - now_s)


def share(rate: float | None, letters: int, whole: int) -> float | None:
    """A partition's share of a plan's rate: different hosts may run the partitions."""
    return None if rate is None else rate * letters / max(1, whole)
