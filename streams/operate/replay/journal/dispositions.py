"""The dispositions of one DLQ partition: two bytes a dead letter, by its offset."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from streams.core.errors import StateLimit
from streams.operate.replay.journal.ranges import Offsets, OffsetSet

_PAGE = 4096
_CHANGES_MAX = 255


class ReplayDisposition(IntEnum):
    OPEN = 0
    REPLAYED = 1
    PARKED = 2
    DISCARDED = 3

    @property
    def word(self) -> str:
        """As in commands and ClickHouse; "" for an open dead letter."""
        return "" if self is ReplayDisposition.OPEN else self.name.lower()


class Dispositions:
    """Pages of 4096 offsets, allocated on the first decision."""

    def __init__(self) -> None:
        self._codes: dict[int, NDArray[np.uint8]] = {}
        self._changes: dict[int, NDArray[np.uint8]] = {}

    def mark(self, decided: OffsetSet, disposition: ReplayDisposition) -> None:
        """Raises `StateLimit` when a dead letter's counter is exhausted."""
        offsets = decided.offsets()
        pages = offsets // _PAGE
        for page in np.unique(pages).tolist():
            at = offsets[pages == page] % _PAGE
            codes = self._codes.setdefault(page, np.zeros(_PAGE, np.uint8))
            changes = self._changes.setdefault(page, np.zeros(_PAGE, np.uint8))
            if (changes[at] == _CHANGES_MAX).any():
                raise StateLimit(f"a dead letter was decided on {_CHANGES_MAX} times already")
            codes[at] = disposition
            changes[at] += 1

    def of(self, offset: int) -> ReplayDisposition:
        page = self._codes.get(offset // _PAGE)
        return (
            ReplayDisposition(int(page[offset % _PAGE]))
            if page is not None
            else ReplayDisposition.OPEN
        )

    def codes(self, offsets: Offsets) -> NDArray[np.uint8]:
        return self._look_up(self._codes, offsets)

    def versions(self, offsets: Offsets) -> NDArray[np.int64]:
        """The version of each row in ClickHouse: 1 + the number of decisions."""
        return self._look_up(self._changes, offsets).astype(np.int64) + 1

    def forget_from(self, offset: int) -> None:
        for pages in (self._codes, self._changes):
            for page in [number for number in pages if number * _PAGE + _PAGE > offset]:
                pages[page][max(0, offset - page * _PAGE) :] = 0

    def counts(self) -> dict[ReplayDisposition, int]:
        """Dead letters by last decision, without open ones."""
        totals = np.zeros(len(ReplayDisposition), np.int64)
        for page in self._codes.values():
            totals += np.bincount(page, minlength=len(ReplayDisposition))
        return {d: int(totals[d]) for d in ReplayDisposition if d is not ReplayDisposition.OPEN}

    @staticmethod
    def _look_up(pages: dict[int, NDArray[np.uint8]], offsets: Offsets) -> NDArray[np.uint8]:
        found = np.zeros(len(offsets), np.uint8)
        numbers = offsets // _PAGE
        for number in np.unique(numbers).tolist():
            page = pages.get(number)
            if page is not None:
                here = numbers == number
                found[here] = page[offsets[here] % _PAGE]
        return found
