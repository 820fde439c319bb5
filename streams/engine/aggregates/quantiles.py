"""Percentiles within a relative error: `Quantiles`, a DDSketch (Masson, Rim, Lee: VLDB 2019).

A value x of magnitude between 1e-12 and 1e18 is counted in the bucket ceil(ln |x| / ln g) of its
sign, g = (1 + error) / (1 - error), whose middle is within ``error`` of each of its values. Smaller
magnitudes count as 0, greater ones as 1e18. Buckets are never joined, so a state does not depend on
the order of records, and states merge by adding.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from streams.core.errors import UsageError
from streams.engine.aggregates.aggregate import (
    Additions,
    Aggregate,
    FieldType,
    FieldValues,
    Slots,
    States,
    or_null,
)
from streams.engine.state.runs import distinct

SMALLEST, GREATEST = 1e-12, 1e18
_ERROR_MIN, _ERROR_MAX = 0.001, 0.5
_BUCKET_BYTES = 120


@dataclass(frozen=True)
class Quantiles(Aggregate):
    """The values at ranks ``at`` (0.5 is the median), within the relative error ``error``: rank q
    of n sorted values is index floor(q * (n - 1)). A column of Float64 for each: ``q_50`` and
    ``q_99_9`` for an aggregator named ``q``."""

    at: tuple[float, ...] = (0.5, 0.9, 0.99)
    error: float = 0.01

    word: ClassVar[str] = "Quantiles"
    slot_bytes: ClassVar[int] = 300

    def __post_init__(self) -> None:
        if not self.at or not all(0 <= one <= 1 for one in self.at):
            raise UsageError(f"Quantiles({self.field!r}): at={self.at} has ranks outside 0 to 1.")
        names = [*map(_percent, self.at)]
        if len({*names}) < len(names):
            raise UsageError(
                f"Quantiles({self.field!r}): at={self.at} has two ranks with one column name: "
                "columns are named by percentages with 6 decimals."
            )
        if not _ERROR_MIN <= self.error <= _ERROR_MAX:
            raise UsageError(
                f"Quantiles({self.field!r}): error={self.error} is not {_ERROR_MIN} to {_ERROR_MAX}."
            )

    @property
    def options(self) -> Mapping[str, Any]:
        return {"error": self.error}

    @property
    def accuracy(self) -> str:
        return f"within {self.error * 100:g} %"

    @property
    def ln_gamma(self) -> float:
        """The width of a bucket, in logarithms."""
        return math.log((1 + self.error) / (1 - self.error))

    @property
    def state_bytes_max(self) -> int:
        magnitudes = math.log(GREATEST / SMALLEST) / self.ln_gamma
        return int(2 * magnitudes + 3) * 8

    def adds_at_most(self, records: int, fields: Mapping[str, FieldValues]) -> int:
        return records * _BUCKET_BYTES

    def columns(self, name: str, types: Mapping[str, FieldType]) -> Mapping[str, str]:
        column = types[self.field].nullable("Float64")
        return {f"{name}_{_percent(rank)}": column for rank in self.at}

    def states(self, types: Mapping[str, FieldType]) -> _Sketches:
        return _Sketches(self)


def _percent(rank: float) -> str:
    return f"{abs(rank) * 100:.6f}".rstrip("0").rstrip(".").replace(".", "_")


class _Sketches(States):
    """The count of each bucket, by slot. A code is the bucket number with the sign of its values,
    shifted so that codes sort as values do: 0 is zero, 1 the smallest magnitude."""

    def __init__(self, declared: Quantiles) -> None:
        self._declared = declared
        self._ln_gamma = declared.ln_gamma
        self._first = math.ceil(math.log(SMALLEST) / self._ln_gamma)
        self._counts: list[dict[int, int]] = []

    def resize(self, capacity: int) -> None:
        self._counts += [{} for _ in range(capacity - len(self._counts))]

    def begin(self, slots: Slots) -> None:
        for slot in slots.tolist():
            self._counts[slot] = {}

    def fold(self, additions: Additions) -> None:
        found, values = additions.of(self._declared.field)
        counts = self._counts
        for slot, code in zip(found.slots.tolist(), self._codes(values).tolist(), strict=True):
            counted = counts[slot]
            counted[code] = counted.get(code, 0) + 1

    def _codes(self, values: Any) -> Slots:
        v = np.asarray(values, np.float64)
        magnitude = np.clip(np.abs(v), SMALLEST, GREATEST)
        bucket = np.ceil(np.log(magnitude) / self._ln_gamma) - self._first + 1
        codes = np.where(np.abs(v) < SMALLEST, 0.0, np.copysign(np.maximum(bucket, 1), v))
        return codes.astype(np.int64)

    def merge(self, into: Slots, other: Slots) -> None:
        for slot, source in zip(into.tolist(), other.tolist(), strict=True):
            counts = self._counts[slot]
            for code, count in self._counts[source].items():
                counts[code] = counts.get(code, 0) + count

    def written(self, slots: Slots) -> list[Any]:
        return [self._counts[slot] for slot in slots.tolist()]

    def restore(self, slots: Slots, written: Sequence[Any]) -> None:
        for slot, counts in zip(slots.tolist(), written, strict=True):
            self._counts[slot] = dict(counts)

    def rows(self, slots: Slots) -> list[Sequence[Any]]:
        held = [self._counts[slot] for slot in slots.tolist()]
        sizes = np.fromiter(map(len, held), np.int64, len(held))
        codes = np.fromiter(chain.from_iterable(held), np.int64, sizes.sum())
        counts = np.fromiter(chain.from_iterable(map(dict.values, held)), np.int64, len(codes))
        order = np.lexsort((codes, np.repeat(np.arange(len(held)), sizes)))
        codes, upto = codes[order], np.cumsum(counts[order])
        ends = np.cumsum(sizes)
        before, after = (np.r_[0, upto][at] for at in (ends - sizes, ends))
        columns = []
        for rank in self._declared.at:
            wanted = before + np.floor(rank * (after - before - 1)).astype(np.int64)
            found = codes[np.searchsorted(upto[:-1], wanted, "right")] if len(codes) else ends
            shown = {code: self._value(code) for code in distinct(found).tolist()}
            columns.append(or_null([shown[code] for code in found.tolist()], sizes > 0))
        return [*columns]

    def _value(self, code: int) -> float:
        if not code:
            return 0.0
        upper = math.exp((abs(code) - 1 + self._first) * self._ln_gamma)
        return math.copysign(upper * (1 - self._declared.error), code)

    def sizes(self, slots: Slots) -> list[int]:
        return [len(self._counts[slot]) * _BUCKET_BYTES for slot in slots.tolist()]

    def adds(self, additions: Additions) -> NDArray[np.int64]:
        found, values = additions.of(self._declared.field)
        counts = self._counts
        added = np.zeros(len(additions.slots), np.int64)
        added[additions.rows_of(self._declared.field)] = [
            0 if slot >= 0 and code in counts[slot] else _BUCKET_BYTES
            for slot, code in zip(found.slots.tolist(), self._codes(values).tolist(), strict=True)
        ]
        return added
