"""Counts and sums: `Count`, `Sum`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from streams.core.rows.window_figures import Merge
from streams.engine.aggregates.aggregate import (
    Additions,
    Aggregate,
    ArrayStates,
    FieldType,
    Slots,
    or_null,
)

_LIMB_BITS = 32
_LIMB_MASK = (1 << _LIMB_BITS) - 1


@dataclass(frozen=True)
class Count(Aggregate):
    """The number of records in the window: a column of UInt64."""

    field: str = ""

    word: ClassVar[str] = "Count"
    merge: ClassVar[Merge] = "sum"
    counts: ClassVar[bool] = True

    @property
    def fields(self) -> tuple[str, ...]:
        return ()

    def columns(self, name: str, types: Mapping[str, FieldType]) -> Mapping[str, str]:
        return {name: "UInt64"}

    def states(self, types: Mapping[str, FieldType]) -> _Counts:
        return _Counts(n=(np.int64, 0))


class _Counts(ArrayStates):
    def fold(self, additions: Additions) -> None:
        np.add.at(self.state["n"], additions.slots, 1)

    def merge(self, into: Slots, other: Slots) -> None:
        self.state["n"][into] += self.state["n"][other]

    def rows(self, slots: Slots) -> list[Sequence[Any]]:
        return [self.state["n"][slots].tolist()]


@dataclass(frozen=True)
class Sum(Aggregate):
    """The sum of a field: a column of Float64. Integers are added exactly, in 96 bits, and rounded
    once, in the row: below 2^53 the column is exact. Floats are added in log order, with at most n
    rounding errors of the largest partial sum."""

    word: ClassVar[str] = "Sum"
    merge: ClassVar[Merge] = "sum"

    def columns(self, name: str, types: Mapping[str, FieldType]) -> Mapping[str, str]:
        return {name: types[self.field].nullable("Float64")}

    def states(self, types: Mapping[str, FieldType]) -> ArrayStates:
        if types[self.field].kind is float:
            return _FloatSums(self.field)
        return _WholeSums(self.field)


class _FloatSums(ArrayStates):
    def __init__(self, field: str) -> None:
        super().__init__(n=(np.int64, 0), s=(np.float64, 0.0))
        self._field = field

    def fold(self, additions: Additions) -> None:
        found, values = additions.of(self._field)
        np.add.at(self.state["n"], found.slots, 1)
        with np.errstate(over="ignore", invalid="ignore"):
            np.add.at(self.state["s"], found.slots, values)

    def merge(self, into: Slots, other: Slots) -> None:
        self.state["n"][into] += self.state["n"][other]
        with np.errstate(over="ignore", invalid="ignore"):
            self.state["s"][into] += self.state["s"][other]

    def rows(self, slots: Slots) -> list[Sequence[Any]]:
        return [or_null(self.state["s"][slots].tolist(), self.state["n"][slots] > 0)]


class _WholeSums(ArrayStates):
    """A sum is ``hi * 2^32 + lo`` with 0 <= lo < 2^32, so no batch can overflow either part."""

    def __init__(self, field: str) -> None:
        super().__init__(n=(np.int64, 0), hi=(np.int64, 0), lo=(np.int64, 0))
        self._field = field

    def fold(self, additions: Additions) -> None:
        found, values = additions.of(self._field)
        np.add.at(self.state["n"], found.slots, 1)
        np.add.at(self.state["hi"], found.slots, values >> _LIMB_BITS)
        np.add.at(self.state["lo"], found.slots, values & _LIMB_MASK)
        self._carry(found.slots)

    def merge(self, into: Slots, other: Slots) -> None:
        for array in self.state.arrays.values():
            array[into] += array[other]
        self._carry(into)

    def _carry(self, slots: Slots) -> None:
        hi, lo = self.state["hi"], self.state["lo"]
        low = lo[slots]
        # Assignments: a slot that is repeated in ``slots`` gets one carry.
        hi[slots] = hi[slots] + (low >> _LIMB_BITS)
        lo[slots] = low & _LIMB_MASK

    def rows(self, slots: Slots) -> list[Sequence[Any]]:
        pairs = zip(self.state["hi"][slots].tolist(), self.state["lo"][slots].tolist(), strict=True)
        sums = [float((hi << _LIMB_BITS) + lo) for hi, lo in pairs]
        return [or_null(sums, self.state["n"][slots] > 0)]
