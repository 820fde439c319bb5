"""Whether a partition is more than `BEHIND_MAX_S` behind its log, by the worker's monotonic clock:
a partition that has folded up to the last stable offset of an answer at time t holds everything
that was in the log at t."""

from __future__ import annotations

from collections import deque

from streams.core.types import Watermarks

BEHIND_MAX_S = 10.0
_MARK_EVERY_S = 1.0
_MARKS_MAX = 1 + int(BEHIND_MAX_S / _MARK_EVERY_S)


class Backlog:
    """All times are monotonic seconds."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int]] = deque(maxlen=_MARKS_MAX)
        self._reached_at = float("-inf")
        self.reading = True
        """true until the broker has answered, too"""
        self.lag = 0
        """records from the next one to fold to the last stable offset of the broker's last answer"""

    def observe(self, now_s: float, position: int, seen: Watermarks | None) -> None:
        """``position``: the next offset to fold. ``seen``: the broker's last answer."""
        if seen is None:
            return
        end = seen.last_stable_offset
        self.lag = max(0, end - position)
        if not self._marks or seen.answered_at >= self._marks[-1][0] + _MARK_EVERY_S:
            self._marks.append((seen.answered_at, end))
        while self._marks and self._marks[0][1] <= position:
            self._reached_at = self._marks.popleft()[0]
        # A partition that has folded up to the newest known end has no backlog, however old the
        # answer.
        self.reading = position < end and now_s - self._reached_at > BEHIND_MAX_S
