"""Restarts of crashed services."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

DEATHS_MAX = 5
WITHIN_S = 60.0
FIRST_DELAY_S = 0.2
DELAY_MAX_S = 5.0


@dataclass(slots=True)
class RestartPolicy:
    """Doubling delays; after `DEATHS_MAX` deaths within `WITHIN_S` the next one is final: a service
    that always crashes would use a core and fill its log."""

    _deaths: deque[float] = field(default_factory=lambda: deque(maxlen=DEATHS_MAX + 1))

    def died(self, now_s: float) -> float | None:
        """Seconds until the next start; None to give up. ``now_s`` is monotonic."""
        self._deaths.append(now_s)
        recent = sum(1 for death in self._deaths if now_s - death < WITHIN_S)
        if recent > DEATHS_MAX:
            return None
        return min(FIRST_DELAY_S * 2.0 ** (recent - 1), DELAY_MAX_S)

    def forgive(self) -> None:
        """Forget previous deaths, on an operator's request."""
        self._deaths.clear()
