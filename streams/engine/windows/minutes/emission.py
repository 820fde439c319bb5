"""Selects the next window rows for ClickHouse, and copies them as columns.

Each shard has a queue of rows of closed windows, which are owed, and one of rows of live windows.
An entry is (slot, serial). It is sent if the window still exists and has a newer version than the
last one sent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from streams.core.rows.built_in_tables import WindowRows, WindowTable
from streams.core.rows.dated_map import ShardOf
from streams.core.rows.deviations import about_mean
from streams.engine.state.table import Table
from streams.engine.windows.minutes.names import SeriesNames
from streams.engine.windows.minutes.sketch_runs import SketchRuns, codes_of, serials_of
from streams.engine.windows.minutes.window_columns import NEVER_MS, WindowColumns

_MINUTES: dict[WindowTable, int] = {"m1": 1, "h1": 60, "d1": 1440}
_Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True, slots=True, eq=False)
class Emission:
    """Rows of one shard, with what their answer needs.

    ``rows`` has one element, or two with the same rows (h1 and d1) for windows too old for m1.
    ``slots``, ``serials``, ``versions`` and ``since_ms`` are parallel to the rows; ``since_ms`` is
    the append time of the oldest record that no earlier row held (`NEVER_MS` after a restore).
    """

    shard: int
    rows: tuple[WindowRows, ...]
    slots: NDArray[np.int64]
    serials: NDArray[np.int64]
    versions: NDArray[np.uint64]
    since_ms: NDArray[np.int64]


@runtime_checkable
class EmittingTable(Table, Protocol):
    """A table whose live states are rows for the shards. The outbox does not owe them: the state
    stays until its last version is acknowledged."""

    evicted: set[tuple[int, int]]
    """(shard, hour start in minutes) of removed states, to be rolled up"""
    refused_rows: list[tuple[WindowRows, str]]
    """rows that a shard refused, and why: each becomes a dead letter"""

    def __len__(self) -> int:
        """Live states."""
        ...

    @property
    def changed(self) -> bool:
        """Whether a delta would have entries."""
        ...

    @property
    def idle(self) -> bool:
        """Whether all states are acknowledged and removed."""
        ...

    @property
    def names_fill(self) -> float:
        """Fill ratio of its tightest bound; 1.0 is the bound."""
        ...

    def advance(self, watermark_ms: int, now_s: float, now_ms: int) -> None:
        """Close what is due by the event time ``watermark_ms``; ``now_s`` is monotonic."""
        ...

    def shed(self, open_max: int) -> None:
        """Close states early until at most ``open_max`` are open."""
        ...

    def add_map(
        self, first_day: int, last_day: int, shards: int, shard_of: ShardOf, since: int = 0
    ) -> None:
        """Place windows from ``first_day`` to ``last_day`` (days since 1970; -1: no end) by one more
        shard map. None of these days has a live window. ``since``: as in `TakenMap`."""
        ...

    def has_windows(self, first_day: int, last_day: int) -> bool:
        """Whether a window of these days is live."""
        ...

    def take_emissions(
        self, room: Sequence[int], early: bool, spared: Container[int] = ()
    ) -> list[Emission]:
        """Due rows, at most ``room[shard]`` a shard; those of live states only if ``early``, and
        not for ``spared`` shards. ``room`` may have shards of maps that were not added."""
        ...

    def forget_early(self) -> None:
        """Drop the queued rows of live states."""
        ...

    def oldest_unshown_ms(self) -> int:
        """Append time of the oldest record that no row has shown."""
        ...

    def acknowledged(self, emission: Emission) -> None:
        """The shard has these rows."""
        ...

    def refused(self, emission: Emission, indexes: Sequence[int], reason: str) -> int:
        """The shard has the rows except those at ``indexes``, which it refuses. The number of these
        that belong to live windows."""
        ...

    def released(self, emission: Emission) -> None:
        """The rows were not stored and are due again."""
        ...


class EmissionQueues:
    def __init__(
        self, part: int, shards: int, columns: WindowColumns, sketch: SketchRuns,
        marks: Callable[[NDArray[np.int64]], NDArray[np.int64] | None],
    ) -> None:  # fmt: skip
        """``marks``: as `Placements.marks`."""
        self._part = part
        self._marks = marks
        self._columns = columns
        self._sketch = sketch
        self._closed: list[deque[_Pairs]] = [deque() for _ in range(shards)]
        self._early: list[deque[_Pairs]] = [deque() for _ in range(shards)]
        self._forgotten = False

    def grow(self, shards: int) -> None:
        """Have queues for ``shards`` shards at least."""
        for _ in range(len(self._closed), shards):
            self._closed.append(deque())
            self._early.append(deque())

    def changed(self, slots: NDArray[np.int64]) -> None:
        """Queue slots that have a new version."""
        c = self._columns
        fresh = slots[~c.waiting[slots]]
        c.waiting[fresh] = True
        closed = c.closed[fresh]
        self._push(self._early, fresh[~closed])
        self._push(self._closed, fresh[closed])

    def closed(self, slots: NDArray[np.int64]) -> None:
        """Queue closed windows whose last version is not acknowledged."""
        self._columns.waiting[slots] = True
        self._push(self._closed, slots)

    def give_back(self, emission: Emission) -> None:
        c = self._columns
        same = c.same(emission.slots, emission.serials)
        slots = emission.slots[same]
        c.sent[slots] = 0
        c.since_ms[slots] = np.minimum(c.since_ms[slots], emission.since_ms[same])
        c.waiting[slots] = False
        self.changed(slots)

    def forget_early(self) -> None:
        """Empty the queues of live windows, which would grow while their rows are not taken. `take`
        fills them again from the columns."""
        c = self._columns
        for queue in self._early:
            for slots, serials in queue:
                c.waiting[slots[c.same(slots, serials)]] = False
            queue.clear()
        self._forgotten = True

    def _recall(self) -> None:
        """Queue the newest version of every open window that was not sent."""
        c = self._columns
        live = c.live()
        self.changed(live[~c.closed[live] & (c.ver[live] > c.sent[live])])
        self._forgotten = False

    def take(
        self,
        names: SeriesNames,
        room: Sequence[int],
        early_rows_max: int,
        spared: Container[int] = (),
    ) -> list[Emission]:
        """Due rows for each shard, at most ``room[shard]``; of live windows at most
        ``early_rows_max`` in all, and none for a ``spared`` shard: they stay queued."""
        if self._forgotten and early_rows_max:
            self._recall()
        emissions: list[Emission] = []
        early_each = -(-early_rows_max // len(self._closed))
        for shard, space in enumerate(room[: len(self._closed)]):
            slots = self._pop(self._closed[shard], space)
            early_room = 0 if shard in spared else min(space - len(slots), early_each)
            early = self._pop(self._early[shard], early_room)
            for chosen in (slots, early):
                if len(chosen):
                    emissions += self._emit(names, shard, chosen)
        return emissions

    def _emit(self, names: SeriesNames, shard: int, slots: NDArray[np.int64]) -> list[Emission]:
        c = self._columns
        old = c.old[slots]
        emissions = []
        groups: tuple[tuple[NDArray[np.int64], tuple[WindowTable, ...]], ...] = (
            (slots[~old], ("m1",)),
            (slots[old], ("h1", "d1")),
        )
        for group, destinations in groups:
            if len(group):
                ordered = group[np.argsort(c.serial[group])]
                for moved, its in self.by_mark(ordered):
                    rows = tuple(self.snapshot(names, shard, its, d, moved) for d in destinations)
                    taken = (its, c.serial[its], c.ver[its], c.since_ms[its])
                    c.since_ms[its] = NEVER_MS
                    emissions.append(Emission(shard, rows, *taken))
        return emissions

    def by_mark(self, slots: NDArray[np.int64]) -> list[tuple[int, NDArray[np.int64]]]:
        """``slots`` by the ``moved`` of their rows."""
        marks = self._marks(self._columns.minute[slots])
        if marks is None:
            return [(0, slots)]
        return [(moved, slots[marks == moved]) for moved in np.unique(marks).tolist()]

    def _push(self, queues: list[deque[_Pairs]], slots: NDArray[np.int64]) -> None:
        if not len(slots):
            return
        c = self._columns
        shards = c.shard[slots]
        for shard, queue in enumerate(queues):
            chosen = slots[shards == shard]
            if len(chosen):
                queue.append((chosen, c.serial[chosen]))

    def _pop(self, queue: deque[_Pairs], count: int) -> NDArray[np.int64]:
        """At most ``count`` slots from the front whose version was not sent."""
        c = self._columns
        taken: list[NDArray[np.int64]] = []
        while queue and count > 0:
            slots, serials = queue.popleft()
            worth = c.same(slots, serials)
            c.waiting[slots[worth]] = False
            worth &= c.ver[slots] > c.sent[slots]
            slots, serials = slots[worth], serials[worth]
            if len(slots) > count:
                rest = slots[count:]
                c.waiting[rest] = True
                queue.appendleft((rest, serials[count:]))
                slots = slots[:count]
            c.sent[slots] = c.ver[slots]
            taken.append(slots)
            count -= len(slots)
        return np.concatenate(taken) if taken else np.empty(0, np.int64)

    def snapshot(
        self, names: SeriesNames, shard: int, slots: NDArray[np.int64], table: WindowTable,
        moved: int,
    ) -> WindowRows:  # fmt: skip
        """Copy the committed state of ``slots`` (ascending by serial) into rows of ``table``."""
        c = self._columns
        buckets, counts = self._sketch.gather(c.serial[slots])
        bounds = np.searchsorted(serials_of(buckets), c.serial[slots])
        width = _MINUTES[table]
        n = c.n[slots]
        mean, m2 = about_mean(n, c.pivot[slots], c.d1[slots], c.d2[slots])
        mean = np.clip(mean, c.lo[slots], c.hi[slots])
        return WindowRows(
            table=table,
            shard=shard,
            part=self._part,
            **names.local(c.key[slots])._asdict(),
            w=(c.minute[slots] // width * width * 60).astype(np.uint32),
            inc=c.inc[slots],
            n=n.astype(np.uint64),
            s1=c.s1[slots],
            s2=m2 + n * mean * mean,
            mean=mean,
            m2=m2,
            lo=c.lo[slots],
            hi=c.hi[slots],
            lv=c.lv[slots],
            lt=c.lt[slots],
            sk_off=np.r_[bounds, len(buckets)].astype(np.int32),
            sk_k=codes_of(buckets),
            sk_n=counts.astype(np.uint32),
            ver=c.ver[slots],
            moved=moved,
        )
