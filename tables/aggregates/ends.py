"""The earliest and the latest value: `First`, `Last`. Of two with one event time, the offset decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from tables.aggregates.aggregate import Additions, Aggregate, FieldType, Slots, States
from tables.runs import run_starts

TEXT_MAX_BYTES = 32 << 10
"""Of a value of text: a longer one is refused with its record (tables/aggregates/field_columns.py)."""

_Stamped = tuple[int, int, Any]
"""Event time in milliseconds, offset, value: ordered by the first two, which no two records share."""


@dataclass(frozen=True)
class _End(Aggregate):
    takes: ClassVar[frozenset[type]] = frozenset({int, float, bool, str})
    slot_bytes: ClassVar[int] = 150
    latest: ClassVar[bool]

    @property
    def state_bytes_max(self) -> int:
        return TEXT_MAX_BYTES + 100

    def columns(self, name: str, types: Mapping[str, FieldType]) -> Mapping[str, str]:
        return {name: types[self.field].column}

    def states(self, types: Mapping[str, FieldType]) -> _Ends:
        return _Ends(self.field, types[self.field].kind, latest=self.latest)


@dataclass(frozen=True)
class First(_End):
    """The value of the record with the earliest event time: a column of the field's type."""

    word: ClassVar[str] = "First"
    latest: ClassVar[bool] = False


@dataclass(frozen=True)
class Last(_End):
    """The value of the record with the latest event time: a column of the field's type."""

    word: ClassVar[str] = "Last"
    latest: ClassVar[bool] = True


class _Ends(States):
    def __init__(self, field: str, kind: type, *, latest: bool) -> None:
        self._field = field
        self._kind = kind
        self._latest = latest
        self._held: list[_Stamped | None] = []
        self._text_bytes = 0

    def resize(self, capacity: int) -> None:
        self._held += [None] * (capacity - len(self._held))

    def begin(self, slots: Slots) -> None:
        for slot in slots.tolist():
            self._hold(slot, None)

    def fold(self, additions: Additions) -> None:
        found, values = additions.of(self._field)
        order = np.lexsort((found.offsets, found.times_ms, found.slots))
        if not len(order):
            return
        first = run_starts(found.slots[order])
        ends = np.r_[first[1:], len(order)] - 1 if self._latest else first
        rows = order[ends].tolist()
        for row in rows:
            value = values[row] if isinstance(values, list) else values[row].item()
            stamped = (int(found.times_ms[row]), int(found.offsets[row]), value)
            self._offer(int(found.slots[row]), stamped)

    def merge(self, into: Slots, other: Slots) -> None:
        for slot, source in zip(into.tolist(), other.tolist(), strict=True):
            stamped = self._held[source]
            if stamped is not None:
                self._offer(slot, stamped)

    def _offer(self, slot: int, stamped: _Stamped) -> None:
        held = self._held[slot]
        if held is None or (stamped[:2] > held[:2]) == self._latest:
            self._hold(slot, stamped)

    def _hold(self, slot: int, stamped: _Stamped | None) -> None:
        if self._kind is str:
            before = self._held[slot]
            self._text_bytes -= len(before[2]) if before else 0
            self._text_bytes += len(stamped[2]) if stamped else 0
        self._held[slot] = stamped

    def written(self, slots: Slots) -> list[Any]:
        return [self._held[slot] for slot in slots.tolist()]

    def restore(self, slots: Slots, written: Sequence[Any]) -> None:
        for slot, stamped in zip(slots.tolist(), written, strict=True):
            self._hold(slot, tuple(stamped) if stamped is not None else None)

    def rows(self, slots: Slots) -> list[Sequence[Any]]:
        held = [self._held[slot] for slot in slots.tolist()]
        return [[None if one is None else self._kind(one[2]) for one in held]]

    @property
    def bytes_used(self) -> int:
        return self._text_bytes
