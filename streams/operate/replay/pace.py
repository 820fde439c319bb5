"""So many records a second, over all partitions of a run."""

from __future__ import annotations

from streams.core.clock import Clock

_STEPS_PER_S = 4
LETTERS_PER_STEP = 5000
"""Of an unhurried step: a transaction costs some 30 ms whatever is in it."""


class ReplayPace:
    """A step is paid for before it is taken, so the rate is never exceeded; time that went by
    unused is not saved up."""

    def __init__(self, clock: Clock, per_s: float | None) -> None:
        self._clock = clock
        self._per_s = per_s
        self._free_at = clock.monotonic()

    @property
    def step(self) -> int:
        """Letters to take in one step."""
        if self._per_s is None:
            return LETTERS_PER_STEP
        return max(1, min(LETTERS_PER_STEP, int(self._per_s / _STEPS_PER_S)))

    async def take(self, letters: int) -> None:
        """Wait until so many letters may go."""
        if self._per_s is None:
            return
        now_s = self._clock.monotonic()
        # What a slow step took of its slot is given back, up to one slot: else the rate would
        # stay below what was asked by the time that every transaction takes.
        self._free_at = max(self._free_at, now_s - 1 / _STEPS_PER_S) + letters / self._per_s
        if self._free_at > now_s:
            await self._clock.sleep(self._free_at - now_s)


def share(rate: float | None, letters: int, whole: int) -> float | None:
    """What of a plan's rate a partition may use that has ``letters`` of its ``whole``: partitions
    may be run by different hosts, and so all end together and never exceed it."""
    return None if rate is None else rate * letters / max(1, whole)
