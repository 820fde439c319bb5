"""Sets of offsets, written as ranges: ``0-5,7``. Readable, and compact for consecutive offsets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streams.engine.state.runs import run_starts

Offsets = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class OffsetSet:
    """Parallel arrays of inclusive range ends: ascending, never adjacent."""

    first: Offsets
    last: Offsets

    @classmethod
    def of(cls, offsets: Iterable[int] | Offsets) -> OffsetSet:
        """``offsets`` are ascending and distinct."""
        ordered = np.fromiter(offsets, np.int64)
        if not len(ordered):
            return cls(ordered, ordered)
        # Within consecutive numbers, number minus index is constant.
        starts = run_starts(ordered - np.arange(len(ordered)))
        stops = np.append(starts[1:], len(ordered)) - 1
        return cls(ordered[starts], ordered[stops])

    @classmethod
    def parse(cls, text: str) -> OffsetSet:
        """The inverse of ``str``. Raises `ValueError`."""
        ends = [_ends(part) for part in text.split(",")] if text else []
        first = np.array([first for first, _ in ends], np.int64)
        last = np.array([last for _, last in ends], np.int64)
        if (last < first).any() or (first[1:] <= last[:-1] + 1).any():
            raise ValueError(f"not a set of ascending ranges: {text[:80]}")
        return cls(first, last)

    def __str__(self) -> str:
        pairs = zip(self.first.tolist(), self.last.tolist(), strict=True)
        return ",".join(f"{a}-{b}" if a < b else f"{a}" for a, b in pairs)

    def __len__(self) -> int:
        return int((self.last - self.first + 1).sum())

    def __bool__(self) -> bool:
        return len(self.first) > 0

    def mask(self, offsets: Offsets) -> NDArray[np.bool_]:
        """Which of the offsets are in the set."""
        if not self:
            return np.zeros(len(offsets), np.bool_)
        at = np.searchsorted(self.first, offsets, "right") - 1
        return (at >= 0) & (offsets <= self.last[np.maximum(at, 0)])

    def offsets(self) -> Offsets:
        """Every member, ascending."""
        pairs = zip(self.first.tolist(), self.last.tolist(), strict=True)
        every = [np.arange(a, b + 1, dtype=np.int64) for a, b in pairs]
        return np.concatenate(every) if every else np.empty(0, np.int64)

    def pieces(self, ranges_max: int) -> Iterator[OffsetSet]:
        """At most ``ranges_max`` ranges at a time; an empty set is one piece."""
        for start in range(0, max(1, len(self.first)), ranges_max):
            stop = start + ranges_max
            yield OffsetSet(self.first[start:stop], self.last[start:stop])

    def spans(self, start: int, gap: int) -> list[tuple[int, int]]:
        """Stretches [first, end) to read from ``start`` on, without gaps above ``gap``."""
        begin, end = np.maximum(self.first, start), self.last + 1
        begin, end = begin[begin < end], end[begin < end]
        apart = np.flatnonzero(begin[1:] - end[:-1] > gap) + 1
        groups = zip(np.split(begin, apart), np.split(end, apart), strict=True)
        return [(int(a[0]), int(b[-1])) for a, b in groups if len(a)]

    def joined(self, later: OffsetSet) -> OffsetSet:
        touching = bool(self) and bool(later) and int(later.first[0]) == int(self.last[-1]) + 1
        last = self.last[:-1] if touching else self.last
        first = later.first[1:] if touching else later.first
        return OffsetSet(np.concatenate([self.first, first]), np.concatenate([last, later.last]))


NOTHING = OffsetSet(np.empty(0, np.int64), np.empty(0, np.int64))


def _ends(part: str) -> tuple[int, int]:
    first, dash, last = part.partition("-")
    if not (part.isascii() and first.isdecimal() and (last.isdecimal() if dash else True)):
        raise ValueError(f"not a range of offsets: {part[:40]}")
    return int(first), int(last) if dash else int(first)
