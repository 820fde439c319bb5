"""The earliest and the latest value: `First`, `Last`. At equal event times the offset decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from streams.core.rows.window_figures import Merge
from streams.engine.aggregates.aggregate import (
    Additions,
    Aggregate,
    ArrayStates,
    FieldType,
    FieldValues,
    Slots,
    States,
    or_null,
)
from streams.engine.state.runs import run_starts
from streams.engine.state.table_values import text_bytes

TEXT_MAX_BYTES = 32 << 10
"""bound of a text value; a record with a longer one is refused
(streams/engine/aggregates/field_columns.py)"""

_Stamped = tuple[int, int, str]
"""Event time in milliseconds, offset, text. The first two are unique and give the order."""


@dataclass(frozen=True)
class _End(Aggregate):
    takes: ClassVar[frozenset[type]] = frozenset({int, float, bool, str})
    slot_bytes: ClassVar[int] = 150
    latest: ClassVar[bool]

    @property
    def state_bytes_max(self) -> int:
        return TEXT_MAX_BYTES + 100

    def adds_at_most(self, records: int, fields: Mapping[str, FieldValues]) -> int:
        return fields[self.field].text_bytes

    def columns(self, name: str, types: Mapping[str, FieldType]) -> Mapping[str, str]:
        return {name: types[self.field].column}

    def states(self, types: Mapping[str, FieldType]) -> States:
        kind = types[self.field].kind
        if kind is str:
            return _TextEnds(self.field, latest=self.latest)
        return _NumberEnds(self.field, kind, latest=self.latest)


@dataclass(frozen=True)
class First(_End):
    """The value of the record with the earliest event time: a column of the field's type."""

    word: ClassVar[str] = "First"
    merge: ClassVar[Merge] = "first"
    latest: ClassVar[bool] = False


@dataclass(frozen=True)
class Last(_End):
    """The value of the record with the latest event time: a column of the field's type."""

    word: ClassVar[str] = "Last"
    merge: ClassVar[Merge] = "last"
    latest: ClassVar[bool] = True


def _end_rows(additions: Additions, *, latest: bool) -> Slots:
    order = np.lexsort((additions.offsets, additions.times_ms, additions.slots))
    if not len(order):
        return order
    first = run_starts(additions.slots[order])
    return order[np.r_[first[1:], len(order)] - 1 if latest else first]


class _NumberEnds(ArrayStates):
    """``off`` -1: no record."""

    def __init__(self, field: str, kind: type, *, latest: bool) -> None:
        dtype = np.float64 if kind is float else np.int64
        super().__init__(ms=(np.int64, 0), off=(np.int64, -1), value=(dtype, 0))
        self._field = field
        self._kind = kind
        self._latest = latest

    def fold(self, additions: Additions) -> None:
        found, values = additions.of(self._field)
        rows = _end_rows(found, latest=self._latest)
        columns = (found.times_ms[rows], found.offsets[rows], values[rows])
        self._offer(found.slots[rows], *columns)

    def merge(self, into: Slots, other: Slots) -> None:
        some = self.state["off"][other] >= 0
        columns = (array[other[some]] for array in self.state.arrays.values())
        self._offer(into[some], *columns)

    def _offer(
        self, slots: Slots, ms: NDArray[np.int64], off: NDArray[np.int64], value: NDArray[Any]
    ) -> None:
        held_ms, held_off = self.state["ms"][slots], self.state["off"][slots]
        later = (ms > held_ms) | ((ms == held_ms) & (off > held_off))
        wins = (held_off < 0) | (later == self._latest)
        for array, column in zip(self.state.arrays.values(), (ms, off, value), strict=True):
            array[slots[wins]] = column[wins]

    def rows(self, slots: Slots) -> list[Sequence[Any]]:
        values = map(self._kind, self.state["value"][slots].tolist())
        return [or_null([*values], self.state["off"][slots] >= 0)]


class _TextEnds(States):
    def __init__(self, field: str, *, latest: bool) -> None:
        self._field = field
        self._latest = latest
        self._held: list[_Stamped | None] = []

    def resize(self, capacity: int) -> None:
        self._held += [None] * (capacity - len(self._held))

    def begin(self, slots: Slots) -> None:
        for slot in slots.tolist():
            self._held[slot] = None

    def fold(self, additions: Additions) -> None:
        found, values = additions.of(self._field)
        for row in _end_rows(found, latest=self._latest).tolist():
            stamped = (int(found.times_ms[row]), int(found.offsets[row]), values[row])
            self._offer(int(found.slots[row]), stamped)

    def merge(self, into: Slots, other: Slots) -> None:
        for slot, source in zip(into.tolist(), other.tolist(), strict=True):
            stamped = self._held[source]
            if stamped is not None:
                self._offer(slot, stamped)

    def _offer(self, slot: int, stamped: _Stamped) -> None:
        held = self._held[slot]
        if held is None or self._wins(stamped[:2], held):
            self._held[slot] = stamped

    def _wins(self, stamp: tuple[int, int], held: _Stamped) -> bool:
        return (stamp > held[:2]) == self._latest

    def written(self, slots: Slots) -> list[Any]:
        return [self._held[slot] for slot in slots.tolist()]

    def restore(self, slots: Slots, written: Sequence[Any]) -> None:
        for slot, stamped in zip(slots.tolist(), written, strict=True):
            self._held[slot] = (stamped[0], stamped[1], stamped[2]) if stamped else None

    def rows(self, slots: Slots) -> list[Sequence[Any]]:
        held = [self._held[slot] for slot in slots.tolist()]
        return [[None if one is None else one[2] for one in held]]

    def sizes(self, slots: Slots) -> list[int]:
        held = [self._held[slot] for slot in slots.tolist()]
        return [0 if one is None else text_bytes(one[2]) for one in held]

    def adds(self, additions: Additions) -> NDArray[np.int64]:
        found, values = additions.of(self._field)
        stamps = zip(found.times_ms.tolist(), found.offsets.tolist(), strict=True)
        added = np.zeros(len(additions.slots), np.int64)
        added[additions.rows_of(self._field)] = [
            self._added(slot, stamp, text)
            for slot, stamp, text in zip(found.slots.tolist(), stamps, values, strict=True)
        ]
        return added

    def _added(self, slot: int, stamp: tuple[int, int], text: str) -> int:
        held = self._held[slot] if slot >= 0 else None
        if held is None:
            return text_bytes(text)
        return max(0, text_bytes(text) - text_bytes(held[2])) if self._wins(stamp, held) else 0
