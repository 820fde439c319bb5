"""The slots of live panes, by key number and start, for whole batches.

A *place* packs the number of the pane's start and that of the key. The hash table
(streams/engine/state/row_table.py) leads from a place to a slot; its entries of removed panes mean
nothing, as their slots have other places, until the table is made anew.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from streams.core import kernels
from streams.engine.state.row_table import RowTable, mixed
from streams.engine.state.runs import distinct

_KEY_BITS: Final = 32
_KEY_MASK: Final = (1 << _KEY_BITS) - 1
_NO_PLACE: Final = -1
_SLACK: Final = 1000

_Slots = NDArray[np.int64]


class PaneSlots:
    """A start is that of a pane, a key its number below 2^32."""

    def __init__(self) -> None:
        self._slots: dict[int, list[int]] = {}
        """by start"""
        self._number: dict[int, int] = {}
        """of each start"""
        self._free: list[int] = []
        self._place = np.full(0, _NO_PLACE, np.int64)
        """by slot"""
        self._start_ms = np.zeros(0, np.int64)
        """by slot"""
        self._table = RowTable()
        self._live = 0

    def __contains__(self, start_ms: int) -> bool:
        return start_ms in self._slots

    def of(self, start_ms: int) -> _Slots:
        """The slots of one start, in the order in which they were added."""
        return np.array(self._slots.get(start_ms, ()), np.int64)

    def keys(self, slots: _Slots) -> NDArray[np.int64]:
        return self._place[slots] & _KEY_MASK

    def starts_ms(self, slots: _Slots) -> NDArray[np.int64]:
        return self._start_ms[slots]

    def find(self, keys: NDArray[np.int64], starts_ms: NDArray[np.int64]) -> _Slots:
        """The slot of each pane, -1 if it is not live."""
        places = (self._numbers(starts_ms) << _KEY_BITS) | keys
        if kernels.active is None:
            return self._table.find(
                mixed(places), lambda slots, index: self._place[slots] == places[index]
            )
        slots = np.empty(len(places), np.int64)
        kernels.active.find_series(*self._table.entries, places, self._place, slots)
        return slots

    def _numbers(self, starts_ms: NDArray[np.int64]) -> NDArray[np.int64]:
        """The number of each start; -1, which no place has, if it has no pane."""
        first = starts_ms[:1]
        if (starts_ms == first).all():
            numbers = [self._number.get(start, -1) for start in first.tolist()]
            return np.repeat(np.array(numbers, np.int64), len(starts_ms))
        different = distinct(starts_ms)
        numbers = [self._number.get(start, -1) for start in different.tolist()]
        return np.array(numbers, np.int64)[np.searchsorted(different, starts_ms)]

    def add(
        self, slots: _Slots, keys: NDArray[np.int64], starts_ms: NDArray[np.int64]
    ) -> list[int]:
        """Enter different panes that `find` does not find. The starts that are new."""
        new = []
        for slot, start_ms in zip(slots.tolist(), starts_ms.tolist(), strict=True):
            held = self._slots.get(start_ms)
            if held is None:
                held = self._slots[start_ms] = []
                self._number[start_ms] = self._free.pop() if self._free else len(self._number)
                new.append(start_ms)
            held.append(slot)
        self._reach(int(slots.max()) + 1)
        self._place[slots] = (self._numbers(starts_ms) << _KEY_BITS) | keys
        self._start_ms[slots] = starts_ms
        self._live += len(slots)
        self._table.add(mixed(self._place[slots]), slots)
        return new

    def _reach(self, capacity: int) -> None:
        if capacity > len(self._place):
            more = max(capacity, 2 * len(self._place)) - len(self._place)
            self._place = np.r_[self._place, np.full(more, _NO_PLACE, np.int64)]
            self._start_ms = np.r_[self._start_ms, np.zeros(more, np.int64)]

    def drop(self, start_ms: int) -> list[int]:
        """Remove the panes of one start; their slots."""
        slots = self._slots.pop(start_ms)
        self._free.append(self._number.pop(start_ms))
        self._place[slots] = _NO_PLACE
        self._live -= len(slots)
        if len(self._table) > 2 * self._live + _SLACK:
            self._enter_all()
        return slots

    def live(self) -> _Slots:
        return np.flatnonzero(self._place != _NO_PLACE)

    def renumber(self, slots: _Slots, keys: NDArray[np.int64]) -> None:
        """Give the keys of all live panes, whose ``slots`` are those of `live`, other numbers."""
        self._place[slots] = (self._place[slots] & ~_KEY_MASK) | keys
        self._enter_all()

    def _enter_all(self) -> None:
        slots = self.live()
        self._table = RowTable(len(slots))
        self._table.add(mixed(self._place[slots]), slots)
