"""How many processes a pool uses, by the jobs that wait: one more at a time, quickly, and one fewer,
slowly."""

from __future__ import annotations

from typing import Final

UP_ABOVE: Final = 1000
"""waiting jobs"""
UP_EVERY_S: Final = 5.0
DOWN_BELOW: Final = 100
DOWN_AFTER_S: Final = 60.0
"""for which fewer than `DOWN_BELOW` wait, before each step down"""


class PoolScale:
    """Between ``least`` and ``most``; it begins with ``least``."""

    def __init__(self, least: int, most: int) -> None:
        assert 1 <= least <= most
        self._least, self._most = least, most
        self.size = least
        self._up_at_s = 0.0
        self._few_since_s: float | None = None

    def step(self, waiting: int, now_s: float) -> bool:
        """Look at the jobs that wait at the monotonic time ``now_s``; whether ``size`` changed."""
        if waiting >= DOWN_BELOW:
            self._few_since_s = None
        elif self._few_since_s is None:
            self._few_since_s = now_s
        if waiting > UP_ABOVE and self.size < self._most and now_s >= self._up_at_s:
            self.size += 1
            self._up_at_s = now_s + UP_EVERY_S
            return True
        few = self._few_since_s is not None and now_s - self._few_since_s >= DOWN_AFTER_S
        if few and self.size > self._least:
            self.size -= 1
            self._few_since_s = now_s
            return True
        return False
