"""A tenant's minute windows for scenarios: parallel columns, oldest minute first."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

MINUTES_MAX = 10_080
"""a week of minutes"""


class History(msgspec.Struct, frozen=True):
    """One element per minute that has values, incarnations added up.

    ``codes[i]`` and ``counts[i]`` are the sketch of minute i
    (streams/engine/windows/minutes/sketch_code.py): each count is the number of values within 1 % of its
    code's value.
    """

    start_s: list[int]
    counts_n: list[int]
    sums: list[float]
    codes: list[list[int]]
    counts: list[list[int]]

    def __len__(self) -> int:
        return len(self.start_s)

    def sketch(self) -> Sketch:
        codes = sorted({code for minute in self.codes for code in minute})
        column = {code: index for index, code in enumerate(codes)}
        weights = np.zeros((len(self), len(codes)))
        for row, (minute, counts) in enumerate(zip(self.codes, self.counts, strict=True)):
            for code, count in zip(minute, counts, strict=True):
                weights[row, column[code]] += count
        return Sketch(np.array(codes, np.int64), weights)


class Sketch(NamedTuple):
    """``weights[m, k]`` values of minute m have code ``codes[k]``; codes ascend, as values do."""

    codes: NDArray[np.int64]
    weights: NDArray[np.float64]
