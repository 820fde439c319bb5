"""Reference for log time and repeated records, from docs/protocols/windows.md, "Time".

It shares nothing with the engine; a property test compares the two."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

Verdict: TypeAlias = Literal["applied", "duplicate", "dead"]

BELIEVED_AFTER = 1 << 20
"""records"""


@dataclass(slots=True)
class _Leap:
    """A step of append time that log time did not follow."""

    at: int
    size: int
    number: int


class LogAge:
    """Follows the append times of one epoch of one partition, in log order, in milliseconds."""

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
        """Whether an id first seen at log time ``then`` is forgotten at the last record."""
        silent = sum(
            leap.size
            for leap in self._leaps
            if leap.size > 0 and leap.at > then and self._read - leap.number > BELIEVED_AFTER
        )
        return self.now - then + silent > self._kept


class _First(NamedTuple):
    append_ms: int
    log_ms: int
    said: Hashable


@dataclass(slots=True)
class FirstSeen:
    """First occurrences in one partition and epoch, in log order; times in milliseconds."""

    dedupe_ttl_ms: int
    _age: LogAge = field(init=False)
    _first: dict[Hashable, _First] = field(default_factory=dict)
    _ages: deque[tuple[int, Hashable]] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self._age = LogAge(self.dedupe_ttl_ms)

    def read(self, append_ms: int) -> None:
        self._age.read(append_ms)

    def verdict(self, append_ms: int, identity: Hashable, said: Hashable) -> Verdict:
        """The verdict on the last read record with payload ``said``. An applied one is stored."""
        first = self._first.get(identity)
        if (
            first is not None
            and append_ms - first.append_ms <= self.dedupe_ttl_ms
            and not self._age.forgets(first.log_ms)
        ):
            return "duplicate" if first.said == said else "dead"
        self._remember(append_ms, identity, said)
        return "applied"

    def _remember(self, append_ms: int, identity: Hashable, said: Hashable) -> None:
        now_ms = self._age.now
        self._first[identity] = _First(append_ms, now_ms, said)
        self._ages.append((now_ms, identity))
        while self._age.forgets(self._ages[0][0]):
            log_ms, expired = self._ages.popleft()
            first = self._first.get(expired)
            if first is not None and first.log_ms == log_ms:
                del self._first[expired]
