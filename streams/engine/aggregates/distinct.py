"""The number of distinct values: `Distinct`, a HyperLogLog of 64-bit hashes.

Up to `_EXACT` values are counted exactly by their hashes (two values share one with a probability
of about n^2 / 2^64). Above, a state is 2^p registers, and the estimate is Ertl's improved one (New
Cardinality Estimation Algorithms for HyperLogLog Sketches, 2017), with a standard error of 1.04 /
sqrt(2^p) at every size. The form of a state depends on its values alone, not on order or batches.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
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
)

_EXACT = 256
_ERROR_MIN, _ERROR_MAX = 0.005, 0.2
_ALPHA = 0.5 / math.log(2)

_Hashes = NDArray[np.uint64]
_Registers = NDArray[np.uint8]
_Held = NDArray[np.uint64] | NDArray[np.uint8]


@dataclass(frozen=True)
class Distinct(Aggregate):
    """The number of distinct values of a field: a column of UInt64, exact up to 256 values, then
    with at most the standard error ``error``. A larger state takes 1.08 / error^2 to twice as many
    bytes."""

    error: float = 0.02

    word: ClassVar[str] = "Distinct"
    takes: ClassVar[frozenset[type]] = frozenset({int, float, bool, str})
    slot_bytes: ClassVar[int] = 150

    def __post_init__(self) -> None:
        if not _ERROR_MIN <= self.error <= _ERROR_MAX:
            raise UsageError(
                f"Distinct({self.field!r}): error={self.error} is not {_ERROR_MIN} to {_ERROR_MAX}."
            )

    @property
    def accuracy(self) -> str:
        return f"exact up to {_EXACT}, then with a standard error of {self.error * 100:g} %"

    @property
    def precision(self) -> int:
        return math.ceil(2 * math.log2(1.04 / self.error))

    @property
    def value_bytes(self) -> int:
        """Size of an exact value: at least its part of the registers that follow, so that a state takes
        no leap."""
        return max(8, (1 << self.precision) // _EXACT)

    @property
    def options(self) -> Mapping[str, Any]:
        return {"p": self.precision}

    @property
    def state_bytes_max(self) -> int:
        return max(1 << self.precision, 8 * _EXACT) + 10

    def adds_at_most(self, records: int, fields: Mapping[str, FieldValues]) -> int:
        return records * self.value_bytes

    def columns(self, name: str, types: Mapping[str, FieldType]) -> Mapping[str, str]:
        return {name: "UInt64"}

    def states(self, types: Mapping[str, FieldType]) -> _Sketches:
        return _Sketches(self)


class _Sketches(States):
    """Sorted hashes, or registers, of each slot."""

    def __init__(self, declared: Distinct) -> None:
        self._field = declared.field
        self._precision = declared.precision
        self._value_bytes = declared.value_bytes
        self._held: list[_Held] = []

    def resize(self, capacity: int) -> None:
        self._held += [_NOTHING] * (capacity - len(self._held))

    def begin(self, slots: Slots) -> None:
        for slot in slots.tolist():
            self._held[slot] = _NOTHING

    def fold(self, additions: Additions) -> None:
        found, values = additions.of(self._field)
        plain = _plain(values)
        by_slot: dict[int, set[Any]] = {}
        for slot, value in set(zip(found.slots.tolist(), plain, strict=True)):
            by_slot.setdefault(slot, set()).add(value)
        for slot, different in by_slot.items():
            self._held[slot] = self._union(self._held[slot], _hashes(different))

    def merge(self, into: Slots, other: Slots) -> None:
        for slot, source in zip(into.tolist(), other.tolist(), strict=True):
            self._held[slot] = self._union(self._held[slot], self._held[source])

    def _union(self, one: _Held, other: _Held) -> _Held:
        if one.dtype == other.dtype == np.uint64:
            both = np.union1d(one, other)
            return both if len(both) <= _EXACT else self._registers(both)
        return np.maximum(self._registers(one), self._registers(other))

    def _registers(self, state: _Held) -> _Registers:
        if state.dtype == np.uint8:
            return state.view(np.uint8)
        width = 64 - self._precision
        index = (state >> np.uint64(width)).astype(np.int64)
        rest = state << np.uint64(self._precision)
        # Leading zeros by the exponent of a double; the low bits are cut to prevent rounding up.
        exponent = np.frexp((rest >> np.uint64(11)).astype(np.float64))[1]
        rank = np.where(rest == 0, width + 1, np.minimum(54 - exponent, width + 1))
        registers = np.zeros(1 << self._precision, np.uint8)
        np.maximum.at(registers, index, rank.astype(np.uint8))
        return registers

    def written(self, slots: Slots) -> list[Any]:
        found = [self._held[slot] for slot in slots.tolist()]
        return [
            (state.dtype == np.uint8, state.astype(state.dtype.newbyteorder("<")).tobytes())
            for state in found
        ]

    def restore(self, slots: Slots, written: Sequence[Any]) -> None:
        for slot, (registers, raw) in zip(slots.tolist(), written, strict=True):
            self._held[slot] = np.frombuffer(raw, "u1" if registers else "<u8")

    def rows(self, slots: Slots) -> list[Sequence[Any]]:
        found = [self._held[slot] for slot in slots.tolist()]
        return [[len(one) if one.dtype == np.uint64 else self._estimate(one) for one in found]]

    def _estimate(self, registers: _Registers) -> int:
        width, m = 64 - self._precision, len(registers)
        counts = np.bincount(registers, minlength=width + 2)
        z = m * _tau(1 - counts[width + 1] / m)
        for rank in range(width, 0, -1):
            z = 0.5 * (z + counts[rank])
        z += m * _sigma(counts[0] / m)
        return round(_ALPHA * m * m / z)

    def sizes(self, slots: Slots) -> list[int]:
        return [self._size(self._held[slot]) for slot in slots.tolist()]

    def _size(self, state: _Held) -> int:
        return len(state) * (self._value_bytes if state.dtype == np.uint64 else 1)

    def adds(self, additions: Additions) -> NDArray[np.int64]:
        found, values = additions.of(self._field)
        added = np.zeros(len(additions.slots), np.int64)
        added[additions.rows_of(self._field)] = [
            self._value_bytes if slot < 0 or self._lacks(self._held[slot], value) else 0
            for slot, value in zip(found.slots.tolist(), _plain(values), strict=True)
        ]
        return added

    def _lacks(self, state: _Held, value: Any) -> bool:
        return bool(state.dtype == np.uint64 and not np.isin(_hashes({value}), state).all())


_NOTHING: _Hashes = np.empty(0, np.uint64)


def _plain(values: Any) -> list[Any]:
    """Adding 0 turns -0.0 into 0.0: they are equal but have different text."""
    return values if isinstance(values, list) else (values + 0).tolist()


def _hashes(values: set[Any]) -> _Hashes:
    raw = b"".join(blake2b(str(value).encode(), digest_size=8).digest() for value in values)
    return np.unique(np.frombuffer(raw, "<u8").astype(np.uint64))


def _sigma(x: float) -> float:
    if x == 1:
        return math.inf
    y, z, before = 1.0, x, -1.0
    while z != before:
        x *= x
        before = z
        z += x * y
        y += y
    return z


def _tau(x: float) -> float:
    if x in (0, 1):
        return 0.0
    y, z, before = 1.0, 1 - x, -1.0
    while z != before:
        x = math.sqrt(x)
        before = z
        y *= 0.5
        z -= (1 - x) ** 2 * y
    return z / 3
