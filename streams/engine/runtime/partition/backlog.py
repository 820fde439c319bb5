"""Whether a partition still reads a backlog: it is more than `BEHIND_MAX_S` behind its log.

Early rows of live windows are spared in a backlog: newer ones would replace them before anyone
could read them. How far behind a partition is follows from one clock, the worker's monotonic one:
an answer of the broker at time t names the last stable offset L, so a partition that has folded up
to L holds all that was in the log at t. The append times of records take no part, since they are
another machine's clock.
"""

from __future__ import annotations

from collections import deque

from streams.core.types import Watermarks

BEHIND_MAX_S = 10.0
_MARK_EVERY_S = 1.0
_MARKS_MAX = 1 + int(BEHIND_MAX_S / _MARK_EVERY_S)


class Backlog:
    """Follows one partition. All times are monotonic seconds."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int]] = deque(maxlen=_MARKS_MAX)
        self._reached_at = float("-inf")
        self.reading = True
        """the partition is behind, or the broker has not answered yet"""

    def observe(self, now_s: float, position: int, seen: Watermarks | None) -> None:
        """Everything below ``position`` is folded; ``seen`` is the broker's last answer."""
        if seen is None:
            return
        end = seen.last_stable_offset
        if not self._marks or seen.answered_at >= self._marks[-1][0] + _MARK_EVERY_S:
            self._marks.append((seen.answered_at, end))
        while self._marks and self._marks[0][1] <= position:
            self._reached_at = self._marks.popleft()[0]
        # An answer that names nothing more stays true of what is known, however old it is.
        self.reading = position < end and now_s - self._reached_at > BEHIND_MAX_S
