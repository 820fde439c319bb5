"""Windows of a fixed size: tumbling, or hopping if one begins every ``step_ms``.

The state is kept by *pane*, a piece of event time that windows share; a row merges the panes of its
window. So a record changes one state, in however many windows it is.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streams.engine.aggregates.aggregate import Slots
from streams.engine.aggregates.window_states import Row
from streams.engine.state.runs import distinct
from streams.engine.windows.aggregated.aggregate_table import (
    NEVER_MS,
    AggregateTable,
    WindowBatch,
    WindowRow,
)
from streams.engine.windows.aggregated.pane_slots import PaneSlots
from streams.engine.windows.aggregated.window_keys import Key
from streams.engine.windows.windowed import Windows

_NO_BOUND = 1 << 62


def pane_ms(windows: Windows) -> int:
    """The length of a pane: the greatest divisor of size and step."""
    return math.gcd(windows.size_ms, windows.step_ms)


class AggregateWindows(AggregateTable):
    def __init__(self, name: str, windows: Windows, *args: Any, **options: Any) -> None:
        super().__init__(name, *args, **options)
        self._windows = windows
        self._pane_ms = pane_ms(windows)
        self._panes = PaneSlots()
        self._begun_by_number: list[int] = []
        """memory of an empty state of each key, by its number"""
        self._tenant_by_number: list[str | None] = []
        self._starts: list[int] = []
        """heap of the starts of ``_panes``"""
        self._done_ms = -NEVER_MS
        """windows that end by this time are closed"""
        self._left: list[Key] | None = None
        """of the window being closed, the keys without an owed row"""
        self._after: Key | None = None
        """the key before those"""
        self._unshown: dict[int, None] = {}
        """slots that changed since their last row"""

    # --- C1 ----------------------------------------------------------------------------------

    def late(self, times_ms: NDArray[np.int64], before_ms: NDArray[np.int64]) -> NDArray[np.bool_]:
        ends = times_ms // self._windows.step_ms * self._windows.step_ms + self._windows.size_ms
        return np.asarray(ends <= self._closed_before(before_ms))

    def _closed_before(self, before_ms: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.maximum(before_ms - self._grace_ms, self.closed_ms)

    def _fold(self, batch: WindowBatch) -> None:
        cuts = self._cuts(batch)
        if not cuts:
            self._add(batch)
        elif cuts[0]:
            self._add(batch.take(np.arange(cuts[0])))
        for begin, end in pairwise([*cuts, len(batch)]):
            self._close_all(int(batch.before_ms[begin]))
            self._add(batch.take(np.arange(begin, end)))

    def _cuts(self, batch: WindowBatch) -> list[int]:
        """Records before which windows must close: they share a pane with a closed and an open
        window, and the closed window's row must not include them."""
        size_ms, step_ms = self._windows.size_ms, self._windows.step_ms
        first_ends = ((batch.times_ms - size_ms) // step_ms + 1) * step_ms + size_ms
        closed = self._closed_before(batch.before_ms)
        shared = np.flatnonzero(first_ends <= closed)
        cuts, upto = [], -NEVER_MS
        for row in shared.tolist():
            last_closed = (int(closed[row]) - size_ms) // step_ms * step_ms
            if last_closed > upto:
                cuts.append(row)
                upto = last_closed
        return cuts

    def _add(self, batch: WindowBatch) -> None:
        keys, starts_ms, slots = self._found(batch)
        missing = np.flatnonzero(slots < 0)
        if len(missing):
            first, place = _first_of_each(keys[missing], starts_ms[missing])
            first = missing[first]
            begun = self._states.begin(len(first))
            slots[missing] = begun[place]
            self._take(begun, keys[first], starts_ms[first])
            self._own(begun, keys[first].tolist(), batch, first)
        self._states.fold(batch.additions(slots))
        changed = distinct(slots)
        self._grew(changed, batch)
        touched = dict.fromkeys(changed.tolist())
        self._dirty |= touched
        self._unshown |= touched

    def _own(self, slots: Slots, numbers: list[int], batch: WindowBatch, rows: Slots) -> None:
        """Records of ``batch`` began these states. What follows from a key alone is found once."""
        if len(self._begun_by_number) < len(self._numbers):
            known = range(len(self._begun_by_number), len(self._numbers))
            keys = [self._numbers[number] for number in known]
            self._begun_by_number += self._begun_bytes(keys)
            self._tenant_by_number += self._tenants_in(keys)
        tenants: list[str | None] = (
            [batch.tenants[row] for row in rows.tolist()]
            if self._tenant_at is None
            else [self._tenant_by_number[number] for number in numbers]
        )
        sizes = [self._begun_by_number[number] for number in numbers]
        self._owners.begin(slots.tolist(), tenants, sizes)

    def _begins(self, batch: WindowBatch, sure: bool) -> tuple[_NewPanes, Slots]:
        keys, starts_ms, slots = self._found(batch)
        missing = np.flatnonzero(slots < 0)
        place = np.full(len(slots), -1, np.int64)
        _, place[missing] = _first_of_each(keys[missing], starts_ms[missing])
        return _NewPanes(place), slots

    def _found(self, batch: WindowBatch) -> tuple[NDArray[np.int64], NDArray[np.int64], Slots]:
        """Key number and start of the pane of each record, and its slot, -1 if it has no state."""
        keys = self._numbers.of(batch.keys)
        starts_ms = batch.times_ms // self._pane_ms * self._pane_ms
        return keys, starts_ms, self._panes.find(keys, starts_ms)

    def _take(self, slots: Slots, keys: NDArray[np.int64], starts_ms: NDArray[np.int64]) -> None:
        for start_ms in self._panes.add(slots, keys, starts_ms):
            heapq.heappush(self._starts, start_ms)

    # --- closing -----------------------------------------------------------------------------

    @property
    def _next_ms(self) -> int | None:
        """The start of the oldest window that is not closed."""
        if not self._starts:
            return None
        oldest = max(self._starts[0], self._done_ms)
        size_ms, step_ms = self._windows.size_ms, self._windows.step_ms
        return ((oldest - size_ms) // step_ms + 1) * step_ms

    def _begins_in(self, start_ms: int, end_ms: int) -> bool:
        oldest_ms = self._next_ms
        if oldest_ms is None:
            return False
        size_ms, step_ms = self._windows.size_ms, self._windows.step_ms
        for pane_ms in self._starts:
            # The windows of a pane that are not closed, and of those the first one in the range.
            first_ms = max(oldest_ms, ((pane_ms - size_ms) // step_ms + 1) * step_ms)
            there_ms = max(first_ms, -(-start_ms // step_ms) * step_ms)
            if there_ms <= pane_ms and there_ms < end_ms:
                return True
        return False

    @property
    def _is_due(self) -> bool:
        start_ms = self._next_ms
        return start_ms is not None and start_ms + self._windows.size_ms <= self.closed_ms

    def _close_due(self) -> None:
        while self._room > 0 and self._is_due:
            start_ms = self._next_ms
            assert start_ms is not None
            if self._left is None:
                self._left = sorted(self._keys(start_ms))
            count = self._room
            some, self._left = self._left[:count], self._left[count:]
            self._closed(self._rows(start_ms, some))
            self._after = some[-1]
            if not self._left:
                self._finish(start_ms)
        if not self._is_due:
            self._done_ms = max(self._done_ms, self.closed_ms)

    def _finish(self, start_ms: int) -> None:
        """Remove the panes that no later window has."""
        self._left = self._after = None
        self._done_ms = start_ms + self._windows.size_ms
        while self._starts and self._starts[0] < start_ms + self._windows.step_ms:
            self._drop(heapq.heappop(self._starts))

    def _close_all(self, watermark_ms: int) -> None:
        room, self._room = self._room, _NO_BOUND
        self.advance(watermark_ms)
        self._room -= _NO_BOUND - room

    def _closing(self) -> tuple[Any, ...]:
        return self._done_ms, self._after

    def _go_on(self, *closing: Any) -> None:
        self._done_ms, self._after = closing
        start_ms = self._next_ms
        if self._after is not None and start_ms is not None:
            after = self._after
            self._left = sorted(key for key in self._keys(start_ms) if key > after)

    def _drop(self, start_ms: int) -> None:
        slots = self._panes.drop(start_ms)
        for slot in slots:
            self._unshown.pop(slot, None)
        self._remove(slots)

    def _of_window(self, start_ms: int) -> Iterator[int]:
        """The starts of its panes."""
        for pane in range(start_ms, start_ms + self._windows.size_ms, self._pane_ms):
            if pane in self._panes:
                yield pane

    def _keys(self, start_ms: int) -> Iterator[Key]:
        """The keys of a window, once each."""
        found = [self._panes.keys(self._panes.of(pane)) for pane in self._of_window(start_ms)]
        numbers = distinct(np.concatenate(found)) if found else ()
        return (self._numbers[number] for number in np.asarray(numbers).tolist())

    def _rows(self, start_ms: int, keys: list[Key]) -> list[WindowRow]:
        end_ms = start_ms + self._windows.size_ms
        rows = self._merged(start_ms, keys)
        return [WindowRow(key, start_ms, end_ms, row) for key, row in zip(keys, rows, strict=True)]

    def _merged(self, start_ms: int, keys: list[Key]) -> list[Row]:
        """The row of each key; each has a pane in the window."""
        numbers = self._numbers.of_tuples(keys)
        if self._pane_ms == self._windows.size_ms:
            return self._states.rows(self._slots(numbers, start_ms))
        whole = self._states.begin(len(keys))
        for pane in self._of_window(start_ms):
            slots = self._slots(numbers, pane)
            here = np.flatnonzero(slots >= 0)
            self._states.merge(whole[here], slots[here])
        rows = self._states.rows(whole)
        self._states.release(whole)
        return rows

    def _slots(self, keys: NDArray[np.int64], start_ms: int) -> Slots:
        return self._panes.find(keys, np.full(len(keys), start_ms, np.int64))

    # --- early rows --------------------------------------------------------------------------

    @property
    def has_news(self) -> bool:
        return bool(self._unshown)

    def take_early(self, rows_max: int) -> list[WindowRow]:
        wanted: dict[int, dict[Key, None]] = {}
        count = 0
        slots = [*islice(self._unshown, rows_max)]
        for slot, (key, pane, _) in zip(
            slots, self._places(np.array(slots, np.int64)), strict=True
        ):
            if count >= rows_max:
                break
            del self._unshown[slot]
            for start_ms in self._windows.starts(pane):
                if start_ms + self._windows.size_ms > self.closed_ms:
                    wanted.setdefault(start_ms, {})[key] = None
                    count += 1
        return [row for start_ms, keys in wanted.items() for row in self._rows(start_ms, [*keys])]

    # --- `Table` -----------------------------------------------------------------------------

    def _places(self, slots: Slots) -> Iterator[tuple[Key, int, int]]:
        starts_ms = self._panes.starts_ms(slots).tolist()
        keys = map(self._numbers.__getitem__, self._panes.keys(slots).tolist())
        return zip(keys, starts_ms, starts_ms, strict=True)

    def _find(self, keys: Sequence[Key], starts_ms: Sequence[int]) -> Slots:
        found = self._numbers.of_tuples(keys)
        return self._panes.find(found, np.array(starts_ms, np.int64))

    def _forget_keys(self) -> None:
        slots = self._panes.live()
        self._panes.renumber(slots, self._numbers.keep(self._panes.keys(slots)))
        self._begun_by_number, self._tenant_by_number = [], []

    def _restored(
        self,
        slots: Slots,
        keys: Sequence[Key],
        starts_ms: Sequence[int],
        lasts_ms: Sequence[int],
    ) -> None:
        numbers = self._numbers.of_tuples(keys)
        self._take(slots, numbers, np.array(starts_ms, np.int64))
        self._unshown |= dict.fromkeys(slots.tolist())


class _NewPanes:
    """``place``: of each record, the number of its pane among those without a state, or -1."""

    def __init__(self, place: Slots) -> None:
        self._place = place
        self._begun: set[int] = set()

    def begins(self, row: int) -> bool:
        place = int(self._place[row])
        return place >= 0 and place not in self._begun

    def place(self, row: int) -> None:
        self._begun.add(int(self._place[row]))


def _first_of_each(
    keys: NDArray[np.int64], starts_ms: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first record of each different pair, in log order, and the index of each record's pair
    there."""
    numbers: dict[tuple[int, int], int] = {}
    pairs = zip(keys.tolist(), starts_ms.tolist(), strict=True)
    place = np.array([numbers.setdefault(pair, len(numbers)) for pair in pairs], np.int64)
    highest = np.maximum.accumulate(place)
    return np.flatnonzero(np.diff(highest, prepend=-1)), place
