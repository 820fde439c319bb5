"""Log time and horizon of a record, worked out a second time from their contract.

The contract is in ARCHITECTURE.md, section 4. Nothing here is the engine's (tables/log_time.py): a
property test holds the two against each other.
"""

from __future__ import annotations

from dataclasses import dataclass

BELIEVED_AFTER = 1 << 20
"""records"""


@dataclass(slots=True)
class _Leap:
    """A step of append time that log time did not follow; backwards, ``size`` is below 0."""

    at: int
    size: int
    number: int


class LogAge:
    """Follows the append times of one epoch of one partition, in log order; all in milliseconds."""

    def __init__(self, ttl_ms: int) -> None:
        self._step = max(60_000, ttl_ms // 32)
        self._kept = ttl_ms + self._step
        self._last: int | None = None
        self._behind = 0
        self._read = 0
        self._leaps: list[_Leap] = []
        self.now = 0
        """log time of the last record"""

    def read(self, append_ms: int) -> None:
        """The next record, whatever became of it."""
        if self._last is None:
            self._last = self.now = append_ms
        move = append_ms - self._last - self._behind
        self._last, self._behind = append_ms, 0
        if move > self._step:
            self.now += self._step
            self._leap(move - self._step)
        elif move >= 0:
            self.now += move
        elif move >= -self._step:
            self._behind = -move
        else:
            self._leap(move)
        self._read += 1
        self._leaps = [leap for leap in self._leaps if self.now - leap.at < self._kept]

    def _leap(self, size: int) -> None:
        back = size < 0
        while size and self._leaps:
            last = self._leaps[-1]
            if (last.size < 0) == back or self._read - last.number > BELIEVED_AFTER:
                break
            last.size, size = last.size + size, 0
            if last.size == 0 or (last.size < 0) == back:
                size = self._leaps.pop().size
        if back and -size <= self._step:
            self._behind = -size
        elif back and self._leaps and self._leaps[-1].size < 0:
            self._leaps[-1] = _Leap(self.now, self._leaps[-1].size + size, self._read)
        elif size:
            self._leaps.append(_Leap(self.now, size, self._read))

    def forgets(self, then: int) -> bool:
        """Whether what was first seen at log time ``then`` is forgotten when the last record is
        judged."""
        silent = sum(
            leap.size
            for leap in self._leaps
            if leap.size > 0 and leap.at > then and self._read - leap.number > BELIEVED_AFTER
        )
        return self.now - then + silent > self._kept
