"""The records of a job partition that were read, from the prefix on.

A slow request holds the prefix, so they may be many: two columns of numbers, 16 bytes a record.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

_DROPPED_MAX: Final = 4096


class ReadRecord(NamedTuple):
    offset: int
    append_ms: int


class Passing:
    def __init__(self) -> None:
        self._offsets = array("q")
        self._append_ms = array("q")
        self._dropped = 0
        """records at the front behind the prefix"""

    def __len__(self) -> int:
        return len(self._offsets) - self._dropped

    def __iter__(self) -> Iterator[ReadRecord]:
        return map(ReadRecord, self._offsets[self._dropped :], self._append_ms[self._dropped :])

    def extend(self, offsets: Iterable[int], append_ms: Iterable[int]) -> None:
        self._offsets.extend(offsets)
        self._append_ms.extend(append_ms)

    @property
    def first(self) -> ReadRecord:
        return self[0]

    @property
    def last(self) -> ReadRecord:
        return ReadRecord(self._offsets[-1], self._append_ms[-1])

    def __getitem__(self, place: int) -> ReadRecord:
        place += self._dropped
        return ReadRecord(self._offsets[place], self._append_ms[place])

    def offsets(self) -> array[int]:
        return self._offsets[self._dropped :]

    def drop(self, count: int) -> NDArray[np.int64]:
        """Drop the first ``count`` records; their append times."""
        end = self._dropped + count
        append_ms = np.array(self._append_ms[self._dropped : end], np.int64)
        self._dropped = end
        # Delete rarely: each deletion moves all that is left.
        if self._dropped > max(_DROPPED_MAX, len(self._offsets) // 2):
            del self._offsets[: self._dropped], self._append_ms[: self._dropped]
            self._dropped = 0
        return append_ms
