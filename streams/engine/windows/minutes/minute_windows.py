"""Tumbling windows of one minute of event time per series (docs/protocols/windows.md).

Life of a window state (one *incarnation*):

 open      records fold into it; rows are emitted while it lives
 closed    past its end + grace (and the hold time, if a late record opened it); its row is sent until
           the shard acknowledges it
 evicted   acknowledged: the next commit deletes the state and owes its hour and day

All operations are single-threaded and work on batches.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from streams.core import kernels
from streams.core.errors import OffsetLimit, StateLimit
from streams.core.kernels.window_sums import SUMS
from streams.core.records.event_fields import Texts
from streams.core.records.text_spans import TextSpans
from streams.core.rows.built_in_tables import OFFSET_END, WindowRows, WindowTable, version_of
from streams.core.rows.dated_map import ShardOf
from streams.engine.state.placements import Placements
from streams.engine.state.runs import distinct, run_starts
from streams.engine.state.table import Entry
from streams.engine.windows.minutes.emission import Emission, EmissionQueues
from streams.engine.windows.minutes.known_series import KnownSeries, SeriesQuota
from streams.engine.windows.minutes.names import MAX_CODES, SeriesNames, renumber
from streams.engine.windows.minutes.sketch_code import encode as sketch_codes
from streams.engine.windows.minutes.sketch_runs import SketchRuns, pack
from streams.engine.windows.minutes.window_columns import WindowColumns
from streams.engine.windows.minutes.window_log import WindowLog
from streams.engine.windows.minutes.window_lookup import Window, WindowLookup

MINUTE_MS = 60_000
_DAY_MS = 86_400_000
_NAMES_SLACK = 100_000
_NAMES_STEP = 32
_PURGE_SLACK = 10_000
_SLOT_BYTES = 228
"""columns and queue entry of one live window, with spare capacity; measured"""

_SERIES = SeriesQuota(2_000_000)

Touched = tuple[int, int]
"""(shard, hour start in minutes since the Unix epoch) of an evicted window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowPolicy:
    grace_ms: int = 60_000
    late_hold_s: float = 30.0
    m1_retention_ms: int = 30 * _DAY_MS
    emit_rows_max: int = 20_000
    max_live: int = 2_000_000
    series: SeriesQuota = _SERIES


class MinuteWindows:
    def __init__(
        self, part: int, epoch: int, shards: int, shard_of: ShardOf, policy: WindowPolicy
    ) -> None:
        self.names = SeriesNames()
        self.evicted: set[Touched] = set()
        self.refused_rows: list[tuple[WindowRows, str]] = []
        self._epoch = np.uint64(version_of(epoch, 0))
        self._placements = Placements(shards, shard_of)
        self._series = KnownSeries(shard_of, policy.series)
        self._policy = policy
        self._columns = WindowColumns()
        self._sketch = SketchRuns(self._columns.alive)
        self._lookup = WindowLookup(self._columns)
        self._log = WindowLog(self._columns, self._sketch)
        self._queues = EmissionQueues(
            part, shards, self._columns, self._sketch, self._placements.marks
        )
        self._evictable: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
        self._refused: dict[int, str] = {}
        self._watermark_ms = 0
        self._now_s = 0.0
        self._now_ms = 0
        self._released_since_purge = 0
        self._room_after_purge = MAX_CODES
        self._released_since_names = 0

    def __len__(self) -> int:
        return len(self._columns)

    @property
    def bytes_used(self) -> int:
        slots = len(self._columns) * _SLOT_BYTES
        return slots + self._lookup.bytes_used + self._series.bytes_used + self._sketch.bytes_used

    @property
    def idle(self) -> bool:
        """No live window: all are acknowledged and evicted."""
        return not len(self._lookup)

    @property
    def names_fill(self) -> float:
        """Upper bound of the share of name codes that live windows hold."""
        return min(len(self), MAX_CODES - self._room_after_purge) / MAX_CODES

    # --- fold (C1) ---------------------------------------------------------------------------

    def admit(
        self,
        tenants: Texts,
        models: Texts,
        metrics: Texts,
        append_ms: NDArray[np.int64],
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_] | None]:
        """The series key of each record of a batch (parallel columns, in log order), and which
        records are over quota (None: none) and must not be folded."""
        columns = (tenants, models, metrics)
        if self.names.room() < len(tenants):
            self._make_room(len(tenants))
            if self.names.room() < len(tenants):
                return self._admit_named([*map(_strings, columns)], append_ms)
        keys = self.names.keys(*columns)
        return keys, self._series.beyond(keys, int(append_ms.max()))

    def _admit_named(
        self, columns: Sequence[Sequence[str]], append_ms: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        refused = self.names.without_code(*columns)
        named = np.flatnonzero(~refused)
        keys = np.zeros(len(refused), np.int64)
        if len(named):
            rows = named.tolist()
            keys[named] = self.names.keys(*([column[row] for row in rows] for column in columns))
            beyond = self._series.beyond(keys[named], int(append_ms.max()))
            if beyond is not None:
                refused[named] = beyond
        return keys, refused

    def fold(
        self,
        keys: NDArray[np.int64],
        ts_ms: NDArray[np.int64],
        values: NDArray[np.float64],
        offsets: NDArray[np.int64],
        append_ms: NDArray[np.int64],
    ) -> None:
        """Fold a batch: parallel columns, offsets ascending.

        Raises `StateLimit` if the batch would exceed twice the bound of live windows (the partition
        pauses before, so at most one batch is too large), and `OffsetLimit` for an offset that a
        row's version cannot hold.
        """
        if not len(keys):
            return
        if offsets[-1] >= OFFSET_END:
            raise OffsetLimit(
                f"offset {offsets[-1]} does not fit into the version of a window row, which holds "
                f"offsets below {OFFSET_END}. No record of the batch was counted. Produce to "
                "another topic, with more partitions, and let the agent read it."
            )
        if len(self) + len(keys) > 2 * self._policy.max_live:
            raise StateLimit(
                f"one batch of {len(keys)} records over {len(self)} live windows exceeds twice "
                f"DIA_MAX_LIVE_WINDOWS={self._policy.max_live}. Raise it, or lower "
                f"DIA_FETCH_MAX_RECORDS."
            )
        minutes = ts_ms // MINUTE_MS
        slots = self._lookup.slots(keys, minutes, self._hold_if_late, self._begin)
        self._sketch.append(pack(self._columns.serial[slots], sketch_codes(values)))
        records = (slots, ts_ms, values, offsets, append_ms)
        loops = kernels.active
        touched = self._add(loops, *records) if loops is not None else self._add_groups(*records)
        self._log.mark(touched)
        self._queues.changed(touched)

    def _add(
        self, loops: Any, slots: NDArray[np.int64], *records: NDArray[Any]
    ) -> NDArray[np.int64]:
        """Add records to the states in their slots; the distinct slots, ascending."""
        c, touched = self._columns, np.empty(len(slots), np.int64)
        count = loops.accumulate(
            slots, *records, self._epoch, c.inc, c.ver, c.n, c.s1, c.pivot, c.d1, c.d2, c.lo, c.hi,
            c.lv, c.lt, c.since_ms, c.group, touched, np.zeros((len(slots), SUMS)),
        )  # fmt: skip
        return np.sort(touched[:count])

    def _add_groups(
        self,
        slots: NDArray[np.int64],
        ts_ms: NDArray[np.int64],
        values: NDArray[np.float64],
        offsets: NDArray[np.int64],
        append_ms: NDArray[np.int64],
    ) -> NDArray[np.int64]:
        order = np.lexsort((ts_ms, slots))
        ordered = slots[order]
        first = run_starts(ordered)
        touched = ordered[first]
        self._accumulate(touched, first, order, ts_ms, values)
        self._stamp(touched, first, offsets[order], append_ms[order])
        return touched

    def _accumulate(
        self,
        touched: NDArray[np.int64],
        first: NDArray[np.intp],
        order: NDArray[np.intp],
        ts_ms: NDArray[np.int64],
        values: NDArray[np.float64],
    ) -> None:
        """Add each group of rows ``order[first[i]:first[i + 1]]`` to the slot ``touched[i]``."""
        c = self._columns
        v, t = values[order], ts_ms[order]
        end = np.r_[first[1:], len(order)]
        new = c.n[touched] == 0
        c.pivot[touched[new]] = values[np.minimum.reduceat(order, first)[new]]
        c.n[touched] += end - first
        c.s1[touched] += _sums(v, first)
        # Sums of squares about zero would cancel: at a mean of 1e9 a deviation of 1 is lost.
        deviation = v - np.repeat(c.pivot[touched], end - first)
        c.d1[touched] += _sums(deviation, first)
        c.d2[touched] += _sums(deviation * deviation, first)
        c.lo[touched] = np.minimum(c.lo[touched], np.minimum.reduceat(v, first))
        c.hi[touched] = np.maximum(c.hi[touched], np.maximum.reduceat(v, first))
        # Rows of a group are sorted by time, then offset: the last one is the latest.
        newer = t[end - 1] >= c.lt[touched]
        c.lt[touched[newer]] = t[end - 1][newer]
        c.lv[touched[newer]] = v[end - 1][newer]

    def _stamp(
        self,
        touched: NDArray[np.int64],
        first: NDArray[np.intp],
        offsets: NDArray[np.int64],
        append_ms: NDArray[np.int64],
    ) -> None:
        """Set version, incarnation of new states, and the oldest unsent append time. ``offsets``
        and ``append_ms`` are in the order of the groups."""
        c = self._columns
        last = np.maximum.reduceat(offsets, first)
        c.ver[touched] = self._epoch + (last + 1).astype(np.uint64)
        new = c.inc[touched] == 0
        opened_by = np.minimum.reduceat(offsets, first)[new]
        c.inc[touched[new]] = self._epoch + (opened_by + 1).astype(np.uint64)
        c.since_ms[touched] = np.minimum(c.since_ms[touched], np.minimum.reduceat(append_ms, first))

    def _hold_if_late(self, window: Window) -> None:
        if self._due(window.minute):
            window.hold_until = self._now_s + self._policy.late_hold_s

    def _begin(self, window: Window, slots: NDArray[np.int64], keys: NDArray[np.int64]) -> None:
        c = self._columns
        c.minute[slots] = window.minute
        c.key[slots] = keys
        c.closed[slots] = window.closed
        c.old[slots] = self._beyond_m1(window.minute)
        number = int(self._placements.numbers(np.array([window.minute]))[0])
        c.shard[slots] = self._series.of(self.names, keys, number)

    def has_windows(self, first_day: int, last_day: int) -> bool:
        minutes = np.array([window.minute for window in self._lookup], np.int64)
        days = minutes * MINUTE_MS // _DAY_MS
        return bool(((days >= first_day) & (days <= last_day)).any())

    def add_map(
        self, first_day: int, last_day: int, shards: int, shard_of: ShardOf, since: int = 0
    ) -> None:
        self._placements.add(first_day, last_day, shards, shard_of, since)
        self._series.add_map(shard_of)
        self._queues.grow(shards)

    def _due(self, minute: int) -> bool:
        return (minute + 1) * MINUTE_MS + self._policy.grace_ms <= self._watermark_ms

    def _beyond_m1(self, minute: int) -> bool:
        """m1 may have dropped part of its day before that day is recomputed."""
        day_ms = minute * MINUTE_MS // _DAY_MS * _DAY_MS
        return day_ms < self._now_ms - self._policy.m1_retention_ms + 2 * _DAY_MS

    # --- time --------------------------------------------------------------------------------

    def advance(self, watermark_ms: int, now_s: float, now_ms: int) -> None:
        """Advance watermark (never back) and clocks; close what is due."""
        self._watermark_ms = max(self._watermark_ms, watermark_ms)
        self._now_s, self._now_ms = now_s, now_ms
        for window in self._lookup:
            held = window.hold_until is not None and now_s < window.hold_until
            if not window.closed and not held and self._due(window.minute):
                self._close(window)

    def shed(self, open_max: int) -> None:
        """Close the oldest windows early until at most ``open_max`` states are open.

        It frees memory and stays exact: later records open another incarnation.
        """
        still_open = sorted(
            (window for window in self._lookup if not window.closed), key=lambda w: w.minute
        )
        states = sum(window.live for window in still_open)
        for window in still_open:
            if states <= open_max:
                return
            states -= window.live
            self._close(window)

    def _close(self, window: Window) -> None:
        window.closed = True
        slots = self._lookup.slots_of(window)
        c = self._columns
        c.closed[slots] = True
        done = c.acked[slots] == c.ver[slots]
        if done.any():
            self._evictable.append((slots[done], c.serial[slots[done]]))
        self._queues.closed(slots[~done])

    @property
    def changed(self) -> bool:
        return self._log.changed or bool(self._evictable)

    # --- emission (C2 snapshot, C5, C6) ------------------------------------------------------

    def take_emissions(
        self, room: Sequence[int], early: bool, spared: Container[int] = ()
    ) -> list[Emission]:
        """Copy due rows, at most ``room[shard]`` a shard: of closed windows, then (if ``early``,
        and not ``spared``) of live ones, oldest change first, within the row budget.

        Call it in the turn of `delta`: the rows are then the state being committed.
        """
        budget = self._policy.emit_rows_max if early else 0
        return self._queues.take(self.names, room, budget, spared)

    def snapshot(self) -> Iterator[tuple[NDArray[np.int64], WindowRows]]:
        """Every live state, as of the last `delta` or `load`, as a row of m1, grouped by shard: the
        series key of each row, and the rows."""
        c = self._columns
        live = c.live()
        live = live[np.argsort(c.serial[live])]
        for shard in np.unique(c.shard[live]).tolist():
            for moved, slots in self._queues.by_mark(live[c.shard[live] == shard]):
                rows = self._queues.snapshot(self.names, shard, slots, "m1", moved)
                yield c.key[slots], rows

    def oldest_unshown_ms(self) -> int:
        return self._columns.oldest_unshown_ms()

    def forget_early(self) -> None:
        """Drop queued rows of live windows during a backlog; a later `take_emissions` with
        ``early`` finds them again."""
        self._queues.forget_early()

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
        """The rows were not stored: queue them again."""
        self._queues.give_back(emission)

    def refused(self, emission: Emission, indexes: Sequence[int], reason: str) -> int:
        """All rows are stored except those at ``indexes``, which the shard refuses.

        A refused row of a closed window becomes a dead letter (``refused_rows``) in the commit that
        evicts it; one of a live window is skipped, as a later version follows. The number of
        skipped rows.
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
        entries = self._log.write(self.names, seq) + self._log.drop_front()
        if self._released_since_purge > len(self) + _PURGE_SLACK:
            self._purge()
        return entries

    def rewrite(self, key: bytes, value: bytes) -> None:
        self._log.rewrite(int.from_bytes(key, "big"))

    def load(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        c = self._columns
        slots = self._log.load(self.names, items)
        numbers = self._placements.numbers(c.minute[slots])
        for number in np.unique(numbers).tolist():
            chosen = slots[numbers == number]
            keys, place = np.unique(c.key[chosen], return_inverse=True)
            c.shard[chosen] = self._series.of(self.names, keys, number)[place]
        self._lookup.rebuild(slots)
        over = self._placements.over(c.minute[slots], c.inc[slots])
        self._queues.changed(slots[~over])
        self._leave_out(slots[over])

    def _leave_out(self, slots: NDArray[np.int64]) -> None:
        """Evict incarnations again whose entries were not dropped from the changelog when they were."""
        if not len(slots):
            return
        c = self._columns
        c.closed[slots], c.acked[slots] = True, c.ver[slots]
        self._evictable.append((slots, c.serial[slots]))
        self._evict()

    def _evict(self) -> None:
        if not self._evictable:
            return
        c = self._columns
        slots = np.concatenate([slots for slots, _ in self._evictable])
        serials = np.concatenate([serials for _, serials in self._evictable])
        self._evictable = []
        slots = distinct(slots[c.same(slots, serials)])
        slots = slots[c.closed[slots] & (c.acked[slots] == c.ver[slots])]
        if not len(slots):
            return
        self._note_touched(slots)
        if self._refused:
            self._bury(slots)
        self._log.release(slots)
        self._lookup.forget(slots)
        c.release(slots)
        self._released_since_purge += len(slots)
        self._released_since_names += len(slots)

    def _note_touched(self, slots: NDArray[np.int64]) -> None:
        c = self._columns
        recent = slots[~c.old[slots]]
        touched = distinct((c.shard[recent].astype(np.int64) << 32) | (c.minute[recent] // 60))
        self.evicted.update((code >> 32, (code & 0xFFFFFFFF) * 60) for code in touched.tolist())

    def _bury(self, slots: NDArray[np.int64]) -> None:
        c = self._columns
        for slot in slots[np.argsort(c.serial[slots])].tolist():
            reason = self._refused.pop(int(c.serial[slot]), None)
            if reason is not None:
                table: WindowTable = "h1" if c.old[slot] else "m1"
                ((moved, row),) = self._queues.by_mark(np.array([slot], np.int64))
                rows = self._queues.snapshot(self.names, int(c.shard[slot]), row, table, moved)
                self.refused_rows.append((rows, reason))

    def _purge(self) -> None:
        self._sketch.purge()
        self._released_since_purge = 0
        if len(self.names) > 3 * (len(self) + len(self._series)) + _NAMES_SLACK:
            self._purge_names()

    def _make_room(self, wanted: int) -> None:
        """Drop names until ``wanted`` codes are free, if enough has changed since the last time: a
        scan of all windows costs more than a batch."""
        added = self._room_after_purge - self.names.room()
        if added + self._released_since_names < MAX_CODES // _NAMES_STEP:
            return
        self._purge_names()
        if self.names.room() < wanted:
            live = self._columns.live()
            self._series.keep_only(self._columns.key[live])
            self._purge_names()

    def _purge_names(self) -> None:
        """Renumber the names that live windows and series use."""
        live = self._columns.live()
        keys = np.concatenate([self._columns.key[live], self._series.keys])
        self.names, keys = renumber(self.names, keys)
        self._columns.key[live] = keys[: len(live)]
        self._lookup.rebuild(live)
        self._series.renumber(keys[len(live) :])
        self._room_after_purge = self.names.room()
        self._released_since_names = 0


def _sums(values: NDArray[np.float64], first: NDArray[np.intp]) -> NDArray[np.float64]:
    """The sum of each group in extended precision, as in the kernel. The last bit may differ where
    terms cancel to less than 2**-64 of the largest."""
    return np.add.reduceat(values.astype(np.longdouble), first).astype(np.float64)


def _strings(texts: Texts) -> Sequence[str]:
    found = texts.texts() if isinstance(texts, TextSpans) else texts
    return cast(Sequence[str], found)
