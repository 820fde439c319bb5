"""The smallest and the greatest value: `Min`, `Max`."""

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


@dataclass(frozen=True)
class _Extreme(Aggregate):
    def columns(self, name: str, types: Mapping[str, FieldType]) -> Mapping[str, str]:
        return {name: types[self.field].column}


@dataclass(frozen=True)
class Min(_Extreme):
    """The smallest value: a column of the field's type."""

    word: ClassVar[str] = "Min"
    merge: ClassVar[Merge] = "min"

    def states(self, types: Mapping[str, FieldType]) -> _Extremes:
        return _Extremes(self.field, types[self.field].kind, smallest=True)


@dataclass(frozen=True)
class Max(_Extreme):
    """The greatest value: a column of the field's type."""

    word: ClassVar[str] = "Max"
    merge: ClassVar[Merge] = "max"

    def states(self, types: Mapping[str, FieldType]) -> _Extremes:
        return _Extremes(self.field, types[self.field].kind, smallest=False)


class _Extremes(ArrayStates):
    def __init__(self, field: str, kind: type, *, smallest: bool) -> None:
        dtype = np.float64 if kind is float else np.int64
        limits = (-np.inf, np.inf) if kind is float else (-(1 << 63), (1 << 63) - 1)
        super().__init__(n=(np.int64, 0), value=(dtype, limits[smallest]))
        self._field = field
        self._pick = np.minimum if smallest else np.maximum
        self._shown = bool if kind is bool else None

    def fold(self, additions: Additions) -> None:
        found, values = additions.of(self._field)
        np.add.at(self.state["n"], found.slots, 1)
        self._pick.at(self.state["value"], found.slots, values)

    def merge(self, into: Slots, other: Slots) -> None:
        self.state["n"][into] += self.state["n"][other]
        value = self.state["value"]
        value[into] = self._pick(value[into], value[other])

    def rows(self, slots: Slots) -> list[Sequence[Any]]:
        values = self.state["value"][slots].tolist()
        if self._shown is not None:
            values = [*map(self._shown, values)]
        return [or_null(values, self.state["n"][slots] > 0)]
