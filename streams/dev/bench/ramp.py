"""The search for the highest rate that holds: double until one fails, then halve the distance."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

RESOLUTION = 1.1
"""Known to within a tenth: what a machine does varies by as much from one minute to the next."""
RATE_MAX_PER_S = 500_000
"""The events of a try are made in advance, some 300 bytes each."""


@dataclass(slots=True)
class Ramp:
    """Ask `next_rate`, try it, `tell` the result; until it is None, or for as long as you like.

    ``best`` is the highest rate that held, ``failed`` the lowest above it that did not.
    """

    first: int
    best: int | None = None
    failed: int | None = None
    _tried: set[int] = field(default_factory=set)

    def next_rate(self) -> int | None:
        """Events a second to try now; None when the answer is known well enough."""
        rate = self._candidate()
        return None if rate in self._tried or not 1 <= rate <= RATE_MAX_PER_S else rate

    def _candidate(self) -> int:
        if self.best is None:
            return self.first if self.failed is None else self.failed // 2
        if self.failed is None:
            return self.best * 2
        if self.failed <= self.best * RESOLUTION:
            return self.best
        return round(math.sqrt(self.best * self.failed))

    def tell(self, rate: int, *, held: bool) -> None:
        """What came of trying ``rate``. A lower rate that fails overrules a higher one that
        held before: the machine is not what it was."""
        self._tried.add(rate)
        if held:
            self.best = max(rate, self.best or 0)
            return
        self.failed = rate if self.failed is None else min(rate, self.failed)
        if self.best is not None and self.best >= self.failed:
            self.best = None
