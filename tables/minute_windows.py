"""Tumbling event-time windows of one minute per series: fold, close, emit, evict.

Life of a window state (one *incarnation*):
 open      records fold into it; early rows are emitted while it lives
 closed    the watermark passed its end + grace (and, where a late record opened it, the hold
           time passed); its row is handed to the sink until the shard acknowledged it
 evicted   the acknowledged version was still the current one: the state is deleted in the next
           commit, together with the obligation to recompute its hour and day
A record for a window that was evicted opens another incarnation; queries add them up.

Everything here is one partition's, in one thread, and works on whole batches.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streams.errors import StateLimit
from streams.rows import WindowRows, WindowTable
from tables import window_segment
from tables.emission import Emission, EmissionQueues
from tables.names import SeriesNames, renumber
from tables.sketch_code import encode as sketch_codes
from tables.sketch_runs import Buckets, SketchRuns, pack, serials_of
from tables.table import Entry, ShardOf
from tables.window_columns import WindowColumns

MINUTE_MS = 60_000
_SEGMENTS_PER_COMMIT = 1 << 16
_NAMES_SLACK = 100_000

Touched = tuple[int, int]
"""(shard, minute since the epoch) of an evicted window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowPolicy:
    """The times of DESIGN: all in the unit of their suffix."""

    grace_ms: int = 60_000
    late_hold_s: float = 30.0
    m1_retention_ms: int = 30 * 86_400_000
    emit_rows_max: int = 20_000
    max_live: int = 5_000_000


class _Slots(dict[int, int]):
    """Series key to slot of one window; a missing series takes a free slot.

    ``__missing__`` keeps the look-up of a whole batch in C (`map` over `__getitem__`); what it
    took is initialised afterwards, in bulk.
    """

    __slots__ = ("_free", "_taken", "closed", "hold_until", "older")

    def __init__(self, free: list[int], taken: list[tuple[int, int]]) -> None:
        super().__init__()
        self._free = free
        self._taken = taken
        self.closed = False
        self.hold_until: float | None = None
        # Slots of incarnations that a newer one of the same series has succeeded. They arise
        # only in a restore: an evicted window may come back beside its successor.
        self.older: set[int] = set()

    def __missing__(self, key: int) -> int:
        slot = self._free.pop()
        self[key] = slot
        self._taken.append((slot, key))
        return slot


class MinuteWindows:
    """The `Table` of windows of one partition (protocol: tables/table.py)."""

    def __init__(
        self, part: int, epoch: int, shards: int, shard_of: ShardOf, policy: WindowPolicy
    ) -> None:
        self.names = SeriesNames()
        self.evicted: set[Touched] = set()
        self.refused_rows: list[tuple[WindowRows, str]] = []
        self._epoch = np.uint64(epoch << 40)
        self._shard_of = shard_of
        self._policy = policy
        self._columns = WindowColumns()
        self._sketch = SketchRuns(self._columns.alive)
        self._windows: dict[int, _Slots] = {}
        self._taken: list[tuple[int, int]] = []
        self._dirty: list[NDArray[np.int64]] = []
        self._evictable: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
        self._queues = EmissionQueues(part, shards, self._columns, self._sketch)
        self._watermark_ms = 0
        self._now_s = 0.0
        self._now_ms = 0
        self._next_segment = 1
        self._segments: dict[int, int] = {}
        self._released_since_purge = 0
        self._refused: dict[int, str] = {}

    def __len__(self) -> int:
        """Live window states."""
        return len(self._columns)

    @property
    def bytes_used(self) -> int:
        """Memory of columns, sketches and look-ups, to within a fifth."""
        return len(self._columns) * 290 + self._sketch.bytes_used

    @property
    def idle(self) -> bool:
        """No live window: all there was is acknowledged and evicted."""
        return not self._windows

    # --- fold (C1) ---------------------------------------------------------------------------

    def fold(
        self,
        keys: NDArray[np.int64],
        ts_ms: NDArray[np.int64],
        values: NDArray[np.float64],
        offsets: NDArray[np.int64],
    ) -> None:
        """Fold a batch: parallel columns, offsets ascending.

        Raises `StateLimit` when the batch would pass the bound of live windows; the caller
        pauses the partition long before (`len`), so that only one batch can be too large.
        """
        if not len(keys):
            return
        if len(self) + len(keys) > 2 * self._policy.max_live:
            raise StateLimit(
                f"one batch of {len(keys)} records over {len(self)} live windows exceeds twice "
                f"DIA_MAX_LIVE_WINDOWS={self._policy.max_live}. Raise it, or lower "
                f"DIA_FETCH_MAX_RECORDS."
            )
        slots = self._slots(keys, ts_ms // MINUTE_MS)
        order = np.lexsort((ts_ms, slots))
        ordered = slots[order]
        first = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
        touched = ordered[first]
        self._accumulate(touched, first, order, ts_ms, values, offsets)
        self._sketch.append(pack(self._columns.serial[slots], sketch_codes(values)))
        self._columns.dirty[touched] = True
        self._dirty.append(touched)
        self._queues.changed(touched)

    def _accumulate(
        self,
        touched: NDArray[np.int64],
        first: NDArray[np.intp],
        order: NDArray[np.intp],
        ts_ms: NDArray[np.int64],
        values: NDArray[np.float64],
        offsets: NDArray[np.int64],
    ) -> None:
        """Add each group of rows ``order[first[i]:first[i + 1]]`` to the slot ``touched[i]``."""
        c = self._columns
        v, o, t = values[order], offsets[order], ts_ms[order]
        end = np.r_[first[1:], len(order)]
        c.n[touched] += end - first
        c.s1[touched] += np.add.reduceat(v, first)
        c.s2[touched] += np.add.reduceat(v * v, first)
        c.lo[touched] = np.minimum(c.lo[touched], np.minimum.reduceat(v, first))
        c.hi[touched] = np.maximum(c.hi[touched], np.maximum.reduceat(v, first))
        # Rows of a group are ordered by time, ties by offset: the last one is the latest.
        newer = t[end - 1] >= c.lt[touched]
        c.lt[touched[newer]] = t[end - 1][newer]
        c.lv[touched[newer]] = v[end - 1][newer]
        c.ver[touched] = self._epoch + (np.maximum.reduceat(o, first) + 1).astype(np.uint64)
        new = c.inc[touched] == 0
        c.inc[touched[new]] = self._epoch + (np.minimum.reduceat(o, first)[new] + 1).astype(
            np.uint64
        )

    def _slots(self, keys: NDArray[np.int64], minutes: NDArray[np.int64]) -> NDArray[np.int64]:
        """The slot of each row; windows and slots that do not exist yet are opened."""
        self._columns.reserve(len(keys))
        order = np.argsort(minutes, kind="stable")
        ordered = minutes[order]
        first = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
        sorted_keys = keys[order].tolist()
        slots = np.empty(len(keys), np.int64)
        bounds = [*first.tolist(), len(keys)]
        for start, end in zip(bounds, bounds[1:], strict=False):
            minute = int(ordered[start])
            window = self._windows.get(minute)
            if window is None:
                window = self._open(minute)
            slots[order[start:end]] = list(map(window.__getitem__, sorted_keys[start:end]))
            if self._taken:
                self._begin(minute, window)
        return slots

    def _open(self, minute: int) -> _Slots:
        window = _Slots(self._columns.free, self._taken)
        if self._due(minute):
            window.hold_until = self._now_s + self._policy.late_hold_s
        self._windows[minute] = window
        return window

    def _begin(self, minute: int, window: _Slots) -> None:
        c = self._columns
        slots = np.array([slot for slot, _ in self._taken], np.int64)
        keys = np.array([key for _, key in self._taken], np.int64)
        self._taken.clear()
        c.begin(slots)
        c.minute[slots] = minute
        c.key[slots] = keys
        c.closed[slots] = window.closed
        c.old[slots] = self._beyond_m1(minute)
        c.shard[slots] = self._shard_of(*self.names.series(keys))

    def _due(self, minute: int) -> bool:
        return (minute + 1) * MINUTE_MS + self._policy.grace_ms <= self._watermark_ms

    def _beyond_m1(self, minute: int) -> bool:
        """Its day would be recomputed when m1 may already have lost part of it."""
        day_ms = minute * MINUTE_MS // 86_400_000 * 86_400_000
        return day_ms < self._now_ms - self._policy.m1_retention_ms + 2 * 86_400_000

    # --- time --------------------------------------------------------------------------------

    def advance(self, watermark_ms: int, now_s: float, now_ms: int) -> None:
        """Move the partition's watermark (never back), the monotonic and the wall clock; close
        what is due."""
        self._watermark_ms = max(self._watermark_ms, watermark_ms)
        self._now_s, self._now_ms = now_s, now_ms
        for minute, window in self._windows.items():
            if window.closed or not self._due(minute):
                continue
            if window.hold_until is not None and now_s < window.hold_until:
                continue
            self._close(window)

    def _close(self, window: _Slots) -> None:
        window.closed = True
        slots = np.array([*window.values(), *window.older], np.int64)
        self._columns.closed[slots] = True
        done = self._columns.acked[slots] == self._columns.ver[slots]
        if done.any():
            self._evictable.append((slots[done], self._columns.serial[slots[done]]))
        self._queues.closed(slots[~done])

    def shed(self, open_max: int) -> None:
        """Close the oldest windows before their time until at most ``open_max`` states are open.

        For want of memory only, and always exact: what still comes for them opens another
        incarnation, and incarnations add up.
        """
        open_windows = sorted(
            (minute, window) for minute, window in self._windows.items() if not window.closed
        )
        states = sum(len(window) for _, window in open_windows)
        for _, window in open_windows:
            if states <= open_max:
                return
            states -= len(window)
            self._close(window)

    @property
    def changed(self) -> bool:
        """A delta would not be empty."""
        return bool(self._dirty or self._evictable)

    # --- emission (C2 snapshot, C5, C6) ------------------------------------------------------

    def take_emissions(self, room: Sequence[int], early: bool) -> list[Emission]:
        """Snapshot due rows, at most ``room[shard]`` for each shard: those of closed windows,
        then (if ``early``) of live ones, oldest change first, within the row budget.

        Call it in the same turn as `delta`: the rows are then the bytes being committed.
        """
        return self._queues.take(self.names, room, self._policy.emit_rows_max if early else 0)

    def has_due(self) -> bool:
        """Rows of closed windows wait for the sink."""
        return self._queues.has_closed

    def acknowledged(self, emission: Emission) -> None:
        """The shard holds these rows at these versions."""
        c = self._columns
        same = c.same(emission.slots, emission.serials)
        slots, versions = emission.slots[same], emission.versions[same]
        c.acked[slots] = np.maximum(c.acked[slots], versions)
        done = slots[c.closed[slots] & (c.acked[slots] == c.ver[slots])]
        if len(done):
            self._evictable.append((done, c.serial[done]))

    def released(self, emission: Emission) -> None:
        """The rows were not stored: hand them out again when there is room."""
        self._queues.give_back(emission)

    def refused(self, emission: Emission, indexes: Sequence[int], reason: str) -> int:
        """All rows are stored but those at ``indexes``, which the shard will never take.

        A refused row of a closed window becomes a dead letter (``refused_rows``) in the commit
        that evicts it; one of a live window is only news that did not arrive. Returns how many
        were skipped in this way.
        """
        c = self._columns
        self.acknowledged(emission)
        skipped = 0
        for index in indexes:
            slot, serial = int(emission.slots[index]), int(emission.serials[index])
            if c.serial[slot] != serial or c.ver[slot] != emission.versions[index]:
                skipped += 1
            elif c.closed[slot]:
                self._refused[serial] = reason
            else:
                c.sent[slot] = c.acked[slot] = 0
                skipped += 1
        return skipped

    # --- state (Table) -----------------------------------------------------------------------

    def delta(self, seq: int) -> list[Entry]:
        self._evict()
        entries: list[Entry] = []
        if self._dirty:
            entries += self._write(seq)
        entries += self._drop_front()
        if self._released_since_purge > len(self) + 10_000:
            self._purge()
        return entries

    def _write(self, seq: int) -> list[Entry]:
        c = self._columns
        slots = np.unique(np.concatenate(self._dirty))
        slots = slots[c.dirty[slots] & (c.serial[slots] >= 0)]
        slots = slots[np.argsort(c.serial[slots])]
        self._dirty = []
        c.dirty[slots] = False
        sealed = self._sketch.seal()
        full = c.base[slots] == 0
        sketch = self._buckets(slots, full, sealed)
        number = self._next_segment = max(self._next_segment, seq * _SEGMENTS_PER_COMMIT)
        entries: list[Entry] = []
        written = window_segment.encode_rows(self.names, c, slots, c.base[slots], sketch)
        for part, value in written:
            whole = part[c.base[part] == 0]
            c.base[whole] = number
            self._segments[number] = len(whole)
            entries.append((number.to_bytes(8, "big"), value))
            number += 1
        self._next_segment = number
        return entries

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
        buckets = np.concatenate([whole[0], sealed[0][added]])
        counts = np.concatenate([whole[1], sealed[1][added]])
        order = np.argsort(buckets, kind="stable")
        return buckets[order], counts[order]

    def rewrite(self, key: bytes, value: bytes) -> None:
        """Write anew every live window whose full row stands in this segment or before it."""
        c = self._columns
        bound = int.from_bytes(key, "big")
        slots = np.flatnonzero((c.serial >= 0) & (c.base > 0) & (c.base <= bound))
        if not len(slots):
            return
        self._uncount(slots)
        c.base[slots] = 0
        c.dirty[slots] = True
        self._dirty.append(slots)

    def _drop_front(self) -> list[Entry]:
        """Delete leading segments in which no live window has its full row.

        Only leading ones: a later segment may hold the newest state of a window whose older
        state stands before it (see the module docstring of window_segment).
        """
        dropped: list[Entry] = []
        for number, whole in list(self._segments.items()):
            if whole:
                break
            del self._segments[number]
            dropped.append((number.to_bytes(8, "big"), None))
        return dropped

    def _evict(self) -> None:
        if not self._evictable:
            return
        c = self._columns
        slots = np.concatenate([slots for slots, _ in self._evictable])
        serials = np.concatenate([serials for _, serials in self._evictable])
        self._evictable = []
        slots = np.unique(slots[c.same(slots, serials)])
        slots = slots[c.closed[slots] & (c.acked[slots] == c.ver[slots])]
        if not len(slots):
            return
        self._note_touched(slots)
        if self._refused:
            self._bury(slots)
        self._uncount(slots)
        minutes = c.minute[slots].tolist()
        for minute, key, slot in zip(minutes, c.key[slots].tolist(), slots.tolist(), strict=True):
            window = self._windows[minute]
            if window.get(key) == slot:
                del window[key]
            else:
                window.older.discard(slot)
            if not window and not window.older:
                del self._windows[minute]
        c.release(slots)
        self._released_since_purge += len(slots)

    def _bury(self, slots: NDArray[np.int64]) -> None:
        """Turn the refused rows among the evicted ones into dead letters."""
        c = self._columns
        for slot in slots[np.argsort(c.serial[slots])].tolist():
            reason = self._refused.pop(int(c.serial[slot]), None)
            if reason is not None:
                table: WindowTable = "h1" if c.old[slot] else "m1"
                rows = self._queues.snapshot(
                    self.names, int(c.shard[slot]), np.array([slot], np.int64), table
                )
                self.refused_rows.append((rows, reason))

    def _uncount(self, slots: NDArray[np.int64]) -> None:
        """These slots no longer need the segments that hold their full rows."""
        numbers, counts = np.unique(self._columns.base[slots], return_counts=True)
        for number, count in zip(numbers.tolist(), counts.tolist(), strict=True):
            if number:
                self._segments[number] -= count

    def _note_touched(self, slots: NDArray[np.int64]) -> None:
        c = self._columns
        recent = slots[~c.old[slots]]
        pairs = np.unique(np.stack([c.shard[recent], c.minute[recent] // 60]), axis=1)
        self.evicted.update((int(shard), int(hour) * 60) for shard, hour in pairs.T)

    def _purge(self) -> None:
        """Forget the buckets and the names of windows that are gone."""
        self._sketch.purge()
        self._released_since_purge = 0
        live = self._columns.live()
        if len(self.names) > 3 * len(live) + _NAMES_SLACK:
            self.names, self._columns.key[live] = renumber(self.names, self._columns.key[live])
            self._index(live)

    def load(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        segments = [(int.from_bytes(key, "big"), value) for key, value in items]
        rows = window_segment.decode_rows(self.names, segments)
        last, owner, entries = window_segment.current_rows(rows)
        c = self._columns
        c.reserve(len(last))
        slots = np.array([c.free.pop() for _ in range(len(last))], np.int64)
        c.begin(slots)
        for name, column in rows.columns.items():
            getattr(c, name)[slots] = column[last]
        c.base[slots] = np.where(c.base[slots] == 0, rows.segment[last], c.base[slots])
        c.key[slots] = rows.key[last]
        c.shard[slots] = self._shard_of(*self.names.series(c.key[slots]))
        self._sketch.add(*window_segment.sketch_of(rows, owner, entries, c.serial[slots]))
        self._segments = {number: 0 for number, _ in segments}
        numbers, counts = np.unique(c.base[slots], return_counts=True)
        self._segments.update(zip(numbers.tolist(), counts.tolist(), strict=True))
        self._next_segment = max(self._segments, default=0) + 1
        self._index(slots)
        self._queues.changed(slots)

    def _index(self, slots: NDArray[np.int64]) -> None:
        """Rebuild the look-ups; where a series has several incarnations, the newest folds on."""
        c = self._columns
        before, self._windows = self._windows, {}
        ordered = slots[np.argsort(c.inc[slots])]
        minutes, keys = c.minute[ordered].tolist(), c.key[ordered].tolist()
        for slot, minute, key in zip(ordered.tolist(), minutes, keys, strict=True):
            window = self._windows.get(minute)
            if window is None:
                window = self._windows[minute] = _Slots(c.free, self._taken)
                if minute in before:
                    window.closed = before[minute].closed
                    window.hold_until = before[minute].hold_until
            if key in window:
                window.older.add(window[key])
            window[key] = slot
