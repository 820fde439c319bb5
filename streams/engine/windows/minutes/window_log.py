"""The log of segments of one window table (format: streams/engine/windows/minutes/window_segment.py).

A segment is *needed* while a live window has its full row in it.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from streams.engine.state.table import Entry
from streams.engine.windows.minutes import window_segment
from streams.engine.windows.minutes.names import SeriesNames
from streams.engine.windows.minutes.sketch_runs import Buckets, SketchRuns, merged, serials_of
from streams.engine.windows.minutes.window_columns import WindowColumns

_SEGMENTS_PER_COMMIT = 1 << 16


class WindowLog:
    """Segment numbers rise; only leading segments are dropped."""

    def __init__(self, columns: WindowColumns, sketch: SketchRuns) -> None:
        self._columns = columns
        self._sketch = sketch
        self.changed = False
        self._next_number = 1
        self._needed: dict[int, int] = {}

    def mark(self, slots: NDArray[np.int64]) -> None:
        self._columns.dirty[slots] = True
        self.changed = True

    def write(self, names: SeriesNames, seq: int) -> list[Entry]:
        """Segments of all changes since the last call."""
        if not self.changed:
            return []
        self.changed = False
        c = self._columns
        marked = np.flatnonzero(c.dirty)
        c.dirty[marked] = False
        slots = marked[c.serial[marked] >= 0]
        slots = slots[np.argsort(c.serial[slots])]
        sketch = self._buckets(slots, c.base[slots] == 0, self._sketch.seal())
        number = max(self._next_number, seq * _SEGMENTS_PER_COMMIT)
        entries: list[Entry] = []
        written = window_segment.encode_rows(names, c, slots, c.base[slots], sketch)
        for part, value in written:
            whole = part[c.base[part] == 0]
            c.base[whole] = number
            self._needed[number] = len(whole)
            entries.append((number.to_bytes(8, "big"), value))
            number += 1
        self._next_number = number
        return entries

    def rewrite(self, number: int) -> None:
        """Mark, in full, every live window whose full row is in this segment or before."""
        c = self._columns
        slots = np.flatnonzero((c.serial >= 0) & (c.base > 0) & (c.base <= number))
        if len(slots):
            self.release(slots)
            c.base[slots] = 0
            self.mark(slots)

    def release(self, slots: NDArray[np.int64]) -> None:
        """Uncount the segments with the full rows of these slots."""
        numbers, counts = np.unique(self._columns.base[slots], return_counts=True)
        for number, count in zip(numbers.tolist(), counts.tolist(), strict=True):
            if number:
                self._needed[number] -= count

    def drop_front(self) -> list[Entry]:
        """Delete leading segments that no window needs.

        A later segment may hold the newest state of a window whose older state is before it; the
        older state must not remain alone.
        """
        dropped: list[Entry] = []
        for number, needed in list(self._needed.items()):
            if needed:
                break
            del self._needed[number]
            dropped.append((number.to_bytes(8, "big"), None))
        return dropped

    def load(self, names: SeriesNames, items: Iterable[tuple[bytes, bytes]]) -> NDArray[np.int64]:
        """Fill the empty columns and sketches from all segments; the slots.

        Sets ``key`` and all written columns; the caller derives the others.
        """
        segments = [(int.from_bytes(key, "big"), value) for key, value in items]
        rows = window_segment.decode_rows(names, segments)
        last, owner, entries = window_segment.current_rows(rows)
        c = self._columns
        slots = c.begin(len(last))
        for name, column in rows.columns.items():
            getattr(c, name)[slots] = column[last]
        c.base[slots] = np.where(c.base[slots] == 0, rows.segment[last], c.base[slots])
        c.key[slots] = rows.key[last]
        self._sketch.add(*window_segment.sketch_of(rows, owner, entries, c.serial[slots]))
        self._needed = {number: 0 for number, _ in segments}
        numbers, counts = np.unique(c.base[slots], return_counts=True)
        self._needed.update(zip(numbers.tolist(), counts.tolist(), strict=True))
        self._next_number = max(self._needed, default=0) + 1
        return slots

    def _buckets(
        self, slots: NDArray[np.int64], full: NDArray[np.bool_], sealed: Buckets
    ) -> Buckets:
        """All buckets of full rows, only the sealed ones of the others; ascending."""
        serial = self._columns.serial[slots]
        if not full.any():
            return sealed
        whole = self._sketch.gather(serial[full])
        owner = np.minimum(np.searchsorted(serial, serials_of(sealed[0])), len(serial) - 1)
        added = ~full[owner] & (serial[owner] == serials_of(sealed[0]))
        return merged(whole, (sealed[0][added], sealed[1][added]))
