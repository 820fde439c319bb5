"""Joins the steps of one series that several shards have parts of.

Around the day of a new shard map a series has windows on two shards. A step whose windows are all on
one shard is passed on; another is computed here, by the rules of `streams.connect.sinks.series`.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, Final, TypeAlias

import numpy as np

from streams.core.rows.deviations import combined

Rows: TypeAlias = Sequence[Sequence[Any]]

EXTRA: Final = 3
"""columns at a row's end that only joining needs: codes, counts, and (time, incarnation) of the last
value"""


def joined(parts: Sequence[Rows], shares: Sequence[float]) -> list[Sequence[Any]]:
    """The steps of all shards, ascending. A row: step (or the name that is ranked), count, mean, standard deviation, smallest,
    largest and last value, percentiles of ``shares``, and the `EXTRA` columns."""
    return [rows[0] if len(rows) == 1 else _one(rows, shares) for rows in by_step(parts)]


def by_step(parts: Sequence[Rows]) -> list[list[Sequence[Any]]]:
    """The rows of all shards that have the same first column, a step or a name, ascending by it."""
    found: defaultdict[int | str, list[Sequence[Any]]] = defaultdict(list)
    for rows in parts:
        for row in rows:
            found[row[0]].append(row)
    return [rows for _, rows in sorted(found.items())]


def _one(rows: Sequence[Sequence[Any]], shares: Sequence[float]) -> tuple[Any, ...]:
    step, *_ = rows[0]
    n, mean, sd, low, high = (np.array([row[i] for row in rows]) for i in range(1, 6))
    total = int(n.sum())
    joint, m2 = combined(n, mean, sd * sd * n)
    last = max(rows, key=lambda row: tuple(row[-1]))
    counts: Counter[int] = Counter()
    for row in rows:
        counts.update(dict(zip(row[-3], row[-2], strict=True)))
    smallest, largest = float(low.min()), float(high.max())
    joint = min(max(joint, smallest), largest)
    step_of = _Step(total, joint, m2, smallest, largest, counts)
    codes = sorted(counts)
    return (
        *(step, total, joint, math.sqrt(m2 / total), smallest, largest, last[6]),
        [step_of.quantile(share) for share in shares],
        *(codes, [counts[code] for code in codes], last[-1]),
    )


class _Step:
    def __init__(
        self,
        total: int,
        mean: float,
        m2: float,
        low: float,
        high: float,
        counts: Mapping[int, int],
    ) -> None:
        self._total, self._mean, self._m2, self._low, self._high = total, mean, m2, low, high
        self._codes = sorted(counts)
        self._upto = list(accumulate(counts[code] for code in self._codes))

    def quantile(self, share: float) -> float:
        rank, low, high = math.ceil(share * self._total), self._low, self._high
        if rank <= 1:
            return low
        if rank >= self._total:
            return high
        code = next(c for c, upto in zip(self._codes, self._upto, strict=True) if upto >= rank)
        if code == 0:
            return self._within(0.0)
        if self._total == 3:
            middle = self._within(3 * self._mean - low - high)
            if abs(middle) > 1e-12 * max(abs(low), abs(high)):
                return middle
        if self._total == 4:
            second = self._second()
            if abs(second) > 3e-5 * (high - low):
                return second
        return self._of_bucket(code)

    def _second(self) -> float:
        """The second of four values, from count, mean and deviation."""
        low, high, mean = self._low, self._high, self._mean
        pair = 2 * mean - low - high
        outer = (low - mean) ** 2 + (high - mean) ** 2
        apart = 2 * (self._m2 - outer) - pair * pair
        apart = apart if apart > 1e-12 * (high - low) ** 2 else 0.0
        return self._within(mean + (pair - math.sqrt(apart)) / 2)

    def _of_bucket(self, code: int) -> float:
        """The harmonic mean of the bucket's ends, cut to the range."""
        value = math.copysign(math.exp((abs(code) - 1038) * 0.0200006667) * 1.01, code)
        ends = sorted((value / 1.01, value / 0.99))
        a, b = max(self._low, ends[0]), min(self._high, ends[1])
        return self._within(2 * a * b / (a + b))

    def _within(self, value: float) -> float:
        return max(self._low, min(self._high, value))
