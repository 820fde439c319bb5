"""A blocked Bloom filter: whether a run can hold an event, without a disk access.

The upper half of an event's hash selects one 64-bit word, the lower half six bits in it (Putze,
Sanders, Singler: Cache-, Hash- and Space-Efficient Bloom Filters, 2007). At 20 bits an event 0.2 %
of absent events are false positives. It costs one cache line.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streams.core import kernels
from streams.engine.identities.id_rows import HI, IdRows
from streams.engine.state.runs import run_starts

_BITS_PER_EVENT = 20
_PROBES = 6
_WORD_BITS = 64
_UPPER = np.uint64(32)


def masks(lo: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The bits of each event, the same for every filter."""
    bits = np.zeros(len(lo), np.uint64)
    for probe in range(_PROBES):
        bits |= np.uint64(1) << ((lo >> np.uint64(6 * probe)) & np.uint64(_WORD_BITS - 1))
    return bits


class IdFilter:
    """``words`` is the whole state; it may come from a file."""

    def __init__(self, words: NDArray[np.uint64]) -> None:
        self.words = words

    @classmethod
    def for_events(cls, count: int) -> IdFilter:
        return cls(np.zeros(max(1, count * _BITS_PER_EVENT // _WORD_BITS), np.uint64))

    def add(self, hi: NDArray[np.uint64], bits: NDArray[np.uint64]) -> None:
        """Enter events, ascending by ``hi``."""
        if len(hi):
            at = self._word_of(hi)
            starts = run_starts(at)
            self.words[at[starts]] |= np.bitwise_or.reduceat(bits, starts)

    def held(self, needles: IdRows, bits: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Indexes of the needles that were entered, perhaps, ascending; the others never were."""
        if kernels.active is not None:
            indexes = np.empty(len(needles), np.int64)
            return indexes[: kernels.active.ask_filter(self.words, needles, bits, indexes)]
        return np.flatnonzero((self.words[self._word_of(needles[:, HI])] & bits) == bits)

    def _word_of(self, hi: NDArray[np.uint64]) -> NDArray[np.intp]:
        # The upper 32 bits, scaled: ascending events use ascending words.
        return ((hi >> _UPPER) * np.uint64(len(self.words)) >> _UPPER).astype(np.intp)
