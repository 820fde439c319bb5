"""The states of all aggregators for the live windows of one partition, by slot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from streams.engine.aggregates.aggregate import (
    Additions,
    Aggregate,
    FieldType,
    FieldValues,
    Slots,
    States,
)

Row: TypeAlias = dict[str, Any]

_FIRST_CAPACITY = 256


class WindowStates:
    """``fold``: aggregators by name."""

    def __init__(self, fold: Mapping[str, Aggregate], types: Mapping[str, FieldType]) -> None:
        self._fold = fold
        self._named = {name: aggregate.states(types) for name, aggregate in fold.items()}
        self._states = [*self._named.values()]
        self._varying = [states for states in self._states if states.varies]
        self.slot_bytes = sum(aggregate.slot_bytes for aggregate in fold.values())
        self.columns = [
            column for name, aggregate in fold.items() for column in aggregate.columns(name, types)
        ]
        self._capacity = 0
        self._free: list[int] = []

    def __len__(self) -> int:
        return self._capacity - len(self._free)

    @property
    def varies(self) -> bool:
        """Whether states have sizes beyond `slot_bytes`."""
        return bool(self._varying)

    def sizes(self, slots: Slots) -> list[int]:
        """The size of each slot (`States`), beyond `slot_bytes`."""
        columns = [one.sizes(slots) for one in self._varying]
        return columns[0] if len(columns) == 1 else [*map(sum, zip(*columns, strict=True))]

    def adds(self, additions: Additions) -> NDArray[np.int64]:
        """How much each record would add at most to the size of its slot as it is."""
        added = np.zeros(len(additions.slots), np.int64)
        for states in self._varying:
            added += states.adds(additions)
        return added

    def adds_at_most(self, records: int, fields: Mapping[str, FieldValues]) -> int:
        """How much so many records add at most to all sizes."""
        return sum(one.adds_at_most(records, fields) for one in self._fold.values())

    def begin(self, count: int) -> Slots:
        if len(self._free) < count:
            self._grow(max(2 * self._capacity, self._capacity + count, _FIRST_CAPACITY))
        left = len(self._free) - count
        taken = self._free[left:]
        del self._free[left:]
        return np.array(taken[::-1], np.int64)

    def _grow(self, capacity: int) -> None:
        # Taken from the end: low slots first.
        self._free = [*range(capacity - 1, self._capacity - 1, -1), *self._free]
        for states in self._states:
            states.resize(capacity)
        self._capacity = capacity

    def release(self, slots: Slots) -> None:
        for states in self._states:
            states.begin(slots)
        self._free += slots.tolist()

    def fold(self, additions: Additions) -> None:
        for states in self._states:
            states.fold(additions)

    def merge(self, into: Slots, other: Slots) -> None:
        """Merge pair by pair; ``into`` has no slot twice."""
        for states in self._states:
            states.merge(into, other)

    def written(self, slots: Slots) -> list[tuple[Any, ...]]:
        """Sorted by the names of the aggregators, so the order of declaration may change."""
        return [*zip(*(states.written(slots) for states in self._by_name()), strict=True)]

    def restore(self, written: Sequence[Sequence[Any]]) -> Slots:
        slots = self.begin(len(written))
        if written:
            for states, column in zip(self._by_name(), zip(*written, strict=True), strict=True):
                states.restore(slots, column)
        return slots

    def _by_name(self) -> list[States]:
        return [self._named[name] for name in sorted(self._named)]

    def rows(self, slots: Slots) -> list[Row]:
        columns = [column for states in self._states for column in states.rows(slots)]
        return [dict(zip(self.columns, row, strict=True)) for row in zip(*columns, strict=True)]
