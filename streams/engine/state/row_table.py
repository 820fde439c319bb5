"""A hash table from 64-bit hashes to row numbers, with batch operations.

Open addressing with linear probing (Knuth, TAOCP 3, 6.4) over 8-byte entries, ``upper 32 bits of
the hash << 32 | row + 1``; 0 is empty. At most three quarters are used. Numpy handles a batch at
once: about 0.05 us a look-up and 0.1 us an insertion. The caller holds the rows and decides which
row a needle means; deleted rows are never meant again.

After `PROBES_MAX` occupied places an entry goes to a sorted array, which is searched by bisection.
So a batch of n costs O(n (PROBES_MAX + log rows)) for any hashes, except those equal in all upper
32 bits.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from streams.core import kernels
from streams.core.kernels.row_places import PROBES_MAX
from streams.engine.state.runs import ragged

Meant = Callable[[NDArray[np.int64], NDArray[np.intp]], NDArray[np.bool_]]
"""Whether each row is the one that the needle at that index asks for (parallel arrays)."""


_MIX = np.uint64(0x9E3779B97F4A7C15)
_TAG_SHIFT = np.uint64(32)
_ROW_MASK = np.uint64(0xFFFFFFFF)
_SMALLEST_BITS = 8


def mixed(keys: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Multiplicative hashes of integers that differ in few bits; the upper bits are good."""
    hashes: NDArray[np.uint64] = keys.view(np.uint64) * _MIX
    hashes ^= hashes >> _TAG_SHIFT
    return hashes * _MIX


def _bits_for(rows: int) -> int:
    return max(_SMALLEST_BITS, (2 * rows - 1).bit_length())


class RowTable:
    """Uses the upper half of each hash only."""

    def __init__(self, capacity: int = 0, first: int | None = None) -> None:
        """1.5 times ``capacity`` rows fit without growing, or after growing once with ``first``, for
        which there is room before that."""
        self._full_bits = _bits_for(capacity)
        self._bits = self._full_bits if first is None else min(self._full_bits, _bits_for(first))
        self._places = np.zeros(1 << self._bits, np.uint64)
        self._beyond = np.empty(0, np.uint64)
        """ascending entries without a place"""
        self._used = 0

    def __len__(self) -> int:
        return self._used

    @property
    def bytes_used(self) -> int:
        return self._places.nbytes + self._beyond.nbytes

    @property
    def entries(self) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """For kernels: the places, and the ascending entries beyond them."""
        return self._places, self._beyond

    def with_room(self, count: int) -> NDArray[np.uint64]:
        """The places with room for ``count`` more, for a kernel, which then calls `entered`."""
        if self._too_full(self._used + count):
            self._grow(count)
        return self._places

    def entered(self, count: int) -> None:
        self._used += count

    def find(self, hashes: NDArray[np.uint64], meant: Meant) -> NDArray[np.int64]:
        """The row of each needle, or -1."""
        rows = np.full(len(hashes), -1, np.int64)
        at = self._home(hashes)
        pending = np.arange(len(hashes))
        for _ in range(PROBES_MAX):
            there = self._places[at[pending]]
            pending, there = pending[there != 0], there[there != 0]
            if not len(pending):
                return rows
            same = np.flatnonzero(((there ^ hashes[pending]) >> _TAG_SHIFT) == 0)
            candidates = (there[same] & _ROW_MASK).astype(np.int64) - 1
            hit = meant(candidates, pending[same])
            found = same[hit]
            rows[pending[found]] = candidates[hit]
            going_on = np.ones(len(pending), np.bool_)
            going_on[found] = False
            pending = pending[going_on]
            at[pending] = (at[pending] + 1) & (len(self._places) - 1)
        self._find_beyond(hashes, pending, meant, rows)
        return rows

    def _find_beyond(
        self,
        hashes: NDArray[np.uint64],
        pending: NDArray[np.intp],
        meant: Meant,
        rows: NDArray[np.int64],
    ) -> None:
        tags = hashes[pending] & ~_ROW_MASK
        first = np.searchsorted(self._beyond, tags, "left")
        counts = np.searchsorted(self._beyond, tags | _ROW_MASK, "right") - first
        asking = np.repeat(pending, counts)
        entries = self._beyond[ragged(first, counts)]
        candidates = (entries & _ROW_MASK).astype(np.int64) - 1
        hit = meant(candidates, asking)
        rows[asking[hit]] = candidates[hit]

    def add(self, hashes: NDArray[np.uint64], rows: NDArray[np.int64]) -> None:
        """Enter distinct rows (0 to 2**32 - 2) that no needle finds."""
        self._used += len(rows)
        if self._too_full(self._used):
            self._grow()
        self._enter((hashes & ~_ROW_MASK) | (rows + 1).astype(np.uint64))

    def replace(
        self, hashes: NDArray[np.uint64], old: NDArray[np.int64], new: NDArray[np.int64]
    ) -> None:
        """Replace rows that were found."""
        at = self._home(hashes)
        tags = hashes & ~_ROW_MASK
        wanted = tags | (old + 1).astype(np.uint64)
        written = tags | (new + 1).astype(np.uint64)
        pending = np.arange(len(at))
        for _ in range(PROBES_MAX):
            there = self._places[at[pending]] == wanted[pending]
            self._places[at[pending[there]]] = written[pending[there]]
            pending = pending[~there]
            if not len(pending):
                return
            at[pending] = (at[pending] + 1) & (len(self._places) - 1)
        self._beyond[np.searchsorted(self._beyond, wanted[pending])] = written[pending]
        self._beyond.sort()

    def _home(self, hashes: NDArray[np.uint64]) -> NDArray[np.intp]:
        return (hashes >> np.uint64(64 - self._bits)).astype(np.intp)

    def _enter(self, entries: NDArray[np.uint64]) -> None:
        if kernels.active is not None:
            entries = entries[kernels.active.enter_rows(self._places, entries) :]
            if not len(entries):
                return
        at = self._home(entries)
        for _ in range(PROBES_MAX):
            if not len(entries):
                return
            free = self._places[at] == 0
            # If several claim one place, the last one written has it; the others go on.
            self._places[at[free]] = entries[free]
            left = self._places[at] != entries
            entries, at = entries[left], (at[left] + 1) & (len(self._places) - 1)
        entries = np.sort(entries)
        self._beyond = np.insert(self._beyond, np.searchsorted(self._beyond, entries), entries)

    def _too_full(self, rows: int) -> bool:
        """A table that will grow to its capacity does so before look-ups take long."""
        if self._bits < self._full_bits:
            return 2 * rows > len(self._places)
        return 4 * rows > 3 * len(self._places)

    def _grow(self, more: int = 0) -> None:
        entries = np.concatenate([self._places[self._places != 0], self._beyond])
        self._bits = max(self._full_bits, _bits_for(self._used + more))
        self._places = np.zeros(1 << self._bits, np.uint64)
        self._beyond = np.empty(0, np.uint64)
        self._enter(entries)
