"""Mean and variance: `Mean`, `Variance`.

A state holds the count, the first value (the *pivot*), and the sums of the deviations from it and
of their squares. As the pivot is one of the values, the squares lose at most the digits of n
(streams/core/rows/deviations.py). Unlike Welford's running mean, the sums do not depend on batches.
Two states merge by the formula of Chan, Golub and LeVeque, moved to the first pivot.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from streams.core.rows.deviations import about_mean
from streams.engine.aggregates.aggregate import (
    Additions,
    Aggregate,
    ArrayStates,
    FieldType,
    Slots,
    or_null,
)


@dataclass(frozen=True)
class Mean(Aggregate):
    """The arithmetic mean: a column of Float64. Infinite if values of one window differ by more
    than 1.7e308."""

    word: ClassVar[str] = "Mean"

    def columns(self, name: str, types: Mapping[str, FieldType]) -> Mapping[str, str]:
        return {name: types[self.field].nullable("Float64")}

    def states(self, types: Mapping[str, FieldType]) -> _Moments:
        return _Moments(self.field, _mean)


@dataclass(frozen=True)
class Variance(Aggregate):
    """The mean squared deviation from the mean (ClickHouse's varPop): a column of Float64. With
    ``sample``, divided by n - 1 (varSamp), and 0 for a single value. Infinite or NaN if values of
    one window differ by more than about 1e154."""

    sample: bool = False

    word: ClassVar[str] = "Variance"

    @property
    def options(self) -> Mapping[str, Any]:
        return {"sample": self.sample}

    def columns(self, name: str, types: Mapping[str, FieldType]) -> Mapping[str, str]:
        return {name: types[self.field].nullable("Float64")}

    def states(self, types: Mapping[str, FieldType]) -> _Moments:
        return _Moments(self.field, _sample_variance if self.sample else _variance)


class _Moments(ArrayStates):
    """``shown`` makes the column from n, mean and the sum of squared deviations."""

    def __init__(self, field: str, shown: Any) -> None:
        super().__init__(
            n=(np.int64, 0), pivot=(np.float64, 0.0), d1=(np.float64, 0.0), d2=(np.float64, 0.0)
        )
        self._field = field
        self._shown = shown

    def fold(self, additions: Additions) -> None:
        found, values = additions.of(self._field)
        n, pivot = self.state["n"], self.state["pivot"]
        values, slots = np.asarray(values, np.float64), found.slots
        new = np.flatnonzero(n[slots] == 0)[::-1]
        pivot[slots[new]] = values[new]  # of repeated slots the last one counts: the first record
        np.add.at(n, slots, 1)
        with np.errstate(over="ignore", invalid="ignore"):
            deviations = values - pivot[slots]
            np.add.at(self.state["d1"], slots, deviations)
            np.add.at(self.state["d2"], slots, deviations * deviations)

    def merge(self, into: Slots, other: Slots) -> None:
        some = self.state["n"][other] > 0
        into, other = into[some], other[some]
        n, pivot, d1, d2 = self.state.arrays.values()
        empty = n[into] == 0
        pivot[into[empty]] = pivot[other[empty]]
        with np.errstate(over="ignore", invalid="ignore"):
            moved = pivot[other] - pivot[into]
            d2[into] += d2[other] + 2 * moved * d1[other] + n[other] * moved * moved
            d1[into] += d1[other] + n[other] * moved
        n[into] += n[other]

    def rows(self, slots: Slots) -> list[Sequence[Any]]:
        n, pivot, d1, d2 = (array[slots] for array in self.state.arrays.values())
        some = n > 0
        with np.errstate(over="ignore", invalid="ignore"):
            mean, m2 = about_mean(np.maximum(n, 1), pivot, d1, d2)
        return [or_null(self._shown(np.maximum(n, 1), mean, m2).tolist(), some)]


_Floats = NDArray[np.float64]


def _mean(n: Slots, mean: _Floats, m2: _Floats) -> _Floats:
    return mean


def _variance(n: Slots, mean: _Floats, m2: _Floats) -> _Floats:
    return np.divide(m2, n)


def _sample_variance(n: Slots, mean: _Floats, m2: _Floats) -> _Floats:
    return np.divide(m2, np.maximum(n - 1, 1))
