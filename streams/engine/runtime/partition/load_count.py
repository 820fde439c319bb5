"""Counts what a partition takes in, by tenant and interval of append time: `LoadRun`.

A record belongs to the run in progress while its append time is in that run's interval or the one
before it; a step back of a clock by more begins another run. So runs follow from the log alone,
however it is cut into batches. Their rows become facts of a commit: absolute, and versioned.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.core.records.framed_batch import record_sizes, timestamp_array
from streams.core.types import RecordBatch
from streams.engine.runtime.poison.key_counts import KeyCounts
from streams.engine.state.load_run import NAME_MAX, REST, SLOT_MS, TENANTS_MAX, LoadRun

QUIET_MS: Final = 60_000
"""time after an interval until its run is shown, if no later record ends it"""


class ShownRun(NamedTuple):
    run: LoadRun
    to_offset: int


@dataclass(slots=True)
class LoadCount:
    """``on`` False counts nothing. ``by_key``: keys are tenants."""

    on: bool
    by_key: bool
    run: LoadRun
    keys: KeyCounts = field(default_factory=KeyCounts)
    _ended: list[ShownRun] = field(default_factory=list)
    _shown_events: int = 0
    _names: list[str] = field(default_factory=list)
    """tenants of the run, by their place"""
    _coded: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """the place of each code of `keys`; -1: unknown"""
    _run_known: tuple[int, int] = (-1, -1)
    _keys_known: list[bytes] | None = None

    def fold(self, batch: RecordBatch) -> None:
        """Count all records of a batch, bad ones and duplicates too."""
        if self.on:
            for rows in self._runs(batch.offsets, timestamp_array(batch)):
                self._count(batch if len(rows) == len(batch) else batch.take(rows))

    def passed(self, offsets: Sequence[int], append_ms: NDArray[np.int64]) -> None:
        """Count requests by append time alone: a partition of jobs keeps no more of them."""
        if self.on:
            for rows in self._runs(offsets, append_ms):
                self._add({REST: (len(rows), 0)})

    def _runs(self, offsets: Sequence[int], append_ms: NDArray[np.int64]) -> Iterator[range]:
        """The rows of each run, once it is the one in progress."""
        slots, first = append_ms // SLOT_MS, 0
        while first < len(slots):
            if not self._continues(int(slots[first])):
                self._begin(int(slots[first]), offsets[first])
            end = first + self._in_run(slots[first:])
            yield range(first, end)
            first = end

    def is_due(self, now_ms: int) -> bool:
        """Whether rows are to be shown: of ended runs, or of one that no later record ended."""
        return bool(self._ended) or self._is_quiet(now_ms)

    def take_shown(self, next_offset: int, now_ms: int) -> list[ShownRun]:
        """The due runs, each as a whole."""
        ended, self._ended = self._ended, []
        if self._is_quiet(now_ms):
            self._shown_events = self.run.events
            ended.append(ShownRun(self.run, next_offset))
        return ended

    def _is_quiet(self, now_ms: int) -> bool:
        run = self.run
        late = run.slot >= 0 and now_ms >= run.end_ms + QUIET_MS
        return self.on and late and run.events > self._shown_events

    def _begin(self, slot: int, offset: int) -> None:
        before = self.run
        if before.events:
            self._ended.append(ShownRun(before, offset))
        self.run, self._shown_events = LoadRun(slot, offset, before.reserved()), 0

    def _continues(self, slot: int) -> bool:
        return self.run.slot - 1 <= slot <= self.run.slot

    def _in_run(self, slots: NDArray[np.int64]) -> int:
        """How many of the first records belong to the run in progress."""
        slot = self.run.slot
        if slot - 1 <= int(slots.min()) and int(slots.max()) <= slot:
            return len(slots)
        return int(np.argmin((slots >= slot - 1) & (slots <= slot)))

    def _count(self, batch: RecordBatch) -> None:
        if not self.by_key:
            size = int(record_sizes(batch).sum())
            self._add({REST: (len(batch), size)})
            return
        self._known_tenants()
        codes = self.keys.codes(batch)
        if codes is None:
            place = {key: self._place_of(key) for key in dict.fromkeys(batch.keys)}
            places = np.fromiter(map(place.__getitem__, batch.keys), np.int64, len(batch))
        else:
            places = self._places_of(codes)
        records = np.bincount(places, minlength=len(self._names))
        sizes = np.bincount(places, weights=record_sizes(batch), minlength=len(self._names))
        present = np.flatnonzero(records).tolist()
        self._add({self._names[at]: (int(records[at]), int(sizes[at])) for at in present})

    def _known_tenants(self) -> None:
        """Forget the places of codes where another run, or another list of keys, began."""
        if self._run_known != (self.run.slot, self.run.from_offset):
            self._run_known = self.run.slot, self.run.from_offset
            self._names = [REST, *(name for name in self.run.tenants if name != REST)]
            self._coded = np.empty(0, np.int64)
        if self._keys_known is not self.keys.keys:
            self._keys_known = self.keys.keys
            self._coded = np.empty(0, np.int64)

    def _places_of(self, codes: NDArray[np.int64]) -> NDArray[np.int64]:
        """The place in `_names` of each code."""
        missing = len(self.keys.keys) - len(self._coded)
        if missing > 0:
            self._coded = np.r_[self._coded, np.full(missing, -1)]
        places = self._coded[codes]
        rows = np.flatnonzero(places < 0)
        if len(rows):
            new, firsts = np.unique(codes[rows], return_index=True)
            for code in new[np.argsort(firsts)].tolist():
                self._coded[code] = self._place_of(self.keys.keys[code])
            places[rows] = self._coded[codes[rows]]
        return places

    def _place_of(self, key: bytes | None) -> int:
        """The place of a tenant, which takes a free one in the order of the log; 0 is `REST`."""
        name = _name(key)
        if name in self._names:
            return self._names.index(name)
        if len(self._names) > TENANTS_MAX:
            return 0
        self._names.append(name)
        return len(self._names) - 1

    def _add(self, found: Mapping[str, tuple[int, int]]) -> None:
        tenants = dict(self.run.tenants)
        for name, (events, size) in found.items():
            before = tenants.get(name, (0, 0))
            tenants[name] = (before[0] + events, before[1] + size)
        self.run = LoadRun(self.run.slot, self.run.from_offset, tenants)


def _name(key: bytes | None) -> str:
    if key is None or len(key) > NAME_MAX:
        return REST
    return key.decode(errors="replace")
