"""The most frequent values: `TopK`, by the Space-Saving algorithm (Metwally, Agrawal, El Abbadi
2005).

A state holds ``capacity`` values with counts. Up to that many distinct values the counts are exact.
Above, a new value replaces the one with the smallest count and inherits that count as its *error*:
true count <= count <= true count + error, with error at most n / capacity of n records. So each
value with more than n / capacity records is in the state. Merging adds counts; a value missing in a
full state may have had that state's smallest count.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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
from streams.engine.state.table_values import text_bytes

VALUE_MAX = 200
"""characters of a value that count for its identity"""
_K_MAX, _CAPACITY_MAX = 100, 1000
_ITEM_BYTES = 230
"""memory of a value beside its characters"""
_NUMBER_MAX_BYTES = 20
"""characters of an integer or boolean"""

_Counts = dict[str, list[int]]
"""Count and error of each value."""


@dataclass(frozen=True)
class TopK(Aggregate):
    """The ``k`` most frequent values of a field, most frequent first: columns ``top``
    (Array(String)) and ``top_n`` (Array(UInt64), their counts) for an aggregator named ``top``.
    Counts are at most n / capacity too high for n records, and exact up to ``capacity`` distinct
    values (default 10 * k). Values with the same first 200 characters count as one."""

    k: int = 10
    capacity: int = 0

    word: ClassVar[str] = "TopK"
    takes: ClassVar[frozenset[type]] = frozenset({int, bool, str})
    slot_bytes: ClassVar[int] = 150

    def __post_init__(self) -> None:
        object.__setattr__(self, "capacity", self.capacity or 10 * self.k)
        if not 1 <= self.k <= min(_K_MAX, self.capacity) or self.capacity > _CAPACITY_MAX:
            raise UsageError(
                f"TopK({self.field!r}): k={self.k} must be 1 to {_K_MAX} and at most "
                f"capacity={self.capacity}, and capacity at most {_CAPACITY_MAX}."
            )

    @property
    def accuracy(self) -> str:
        return f"counts at most 1/{self.capacity} of all values too high"

    @property
    def options(self) -> Mapping[str, Any]:
        return {"capacity": self.capacity}

    @property
    def state_bytes_max(self) -> int:
        return self.capacity * (4 * VALUE_MAX + 25)

    def adds_at_most(self, records: int, fields: Mapping[str, FieldValues]) -> int:
        texts = fields[self.field].text_bytes
        return records * (_ITEM_BYTES + _NUMBER_MAX_BYTES) + min(texts, records * 4 * VALUE_MAX)

    def columns(self, name: str, types: Mapping[str, FieldType]) -> Mapping[str, str]:
        return {name: "Array(String)", f"{name}_n": "Array(UInt64)"}

    def states(self, types: Mapping[str, FieldType]) -> _Summaries:
        return _Summaries(self)


class _Summaries(States):
    def __init__(self, declared: TopK) -> None:
        self._declared = declared
        self._capacity = declared.capacity
        self._counts: list[_Counts] = []
        self._sizes: list[int] = []

    def resize(self, capacity: int) -> None:
        self._counts += [{} for _ in range(capacity - len(self._counts))]
        self._sizes += [0] * (capacity - len(self._sizes))

    def begin(self, slots: Slots) -> None:
        for slot in slots.tolist():
            self._hold(slot, {})

    def _hold(self, slot: int, counts: _Counts) -> None:
        self._counts[slot] = counts
        self._sizes[slot] = sum(map(_item_bytes, counts))

    def fold(self, additions: Additions) -> None:
        found, values = additions.of(self._declared.field)
        by_slot: dict[int, list[str]] = {}
        for slot, text in zip(found.slots.tolist(), _texts(values), strict=True):
            by_slot.setdefault(slot, []).append(text)
        for slot, items in by_slot.items():
            self._sizes[slot] += _count(self._counts[slot], items, self._capacity)

    def merge(self, into: Slots, other: Slots) -> None:
        for slot, source in zip(into.tolist(), other.tolist(), strict=True):
            merged = _merged(self._counts[slot], self._counts[source], self._capacity)
            self._hold(slot, merged)

    def written(self, slots: Slots) -> list[Any]:
        return [self._counts[slot] for slot in slots.tolist()]

    def restore(self, slots: Slots, written: Sequence[Any]) -> None:
        for slot, counts in zip(slots.tolist(), written, strict=True):
            self._hold(slot, {item: list(pair) for item, pair in counts.items()})

    def rows(self, slots: Slots) -> list[Sequence[Any]]:
        k = self._declared.k
        best = [_ranked(self._counts[slot])[:k] for slot in slots.tolist()]
        return [
            [[item for item, _ in items] for items in best],
            [[count for _, (count, _) in items] for items in best],
        ]

    def sizes(self, slots: Slots) -> list[int]:
        return [self._sizes[slot] for slot in slots.tolist()]

    def adds(self, additions: Additions) -> NDArray[np.int64]:
        found, values = additions.of(self._declared.field)
        added = np.zeros(len(additions.slots), np.int64)
        added[additions.rows_of(self._declared.field)] = [
            self._added(self._counts[slot] if slot >= 0 else {}, text)
            for slot, text in zip(found.slots.tolist(), _texts(values), strict=True)
        ]
        return added

    def _added(self, counts: _Counts, text: str) -> int:
        if text in counts:
            return 0
        return text_bytes(text) if len(counts) >= self._capacity else _item_bytes(text)


def _texts(values: Any) -> list[str]:
    texts = values if isinstance(values, list) else map(str, values.tolist())
    return [text[:VALUE_MAX] for text in texts]


def _item_bytes(item: str) -> int:
    return _ITEM_BYTES + text_bytes(item)


def _ranked(counts: _Counts) -> list[tuple[str, list[int]]]:
    return sorted(counts.items(), key=lambda one: (-one[1][0], one[0]))


def _count(counts: _Counts, items: Iterable[str], capacity: int) -> int:
    """Count the items; the change of the state's size."""
    smallest: list[tuple[int, str]] | None = None
    added = 0
    for item in items:
        if item in counts:
            counts[item][0] += 1
        elif len(counts) < capacity:
            counts[item] = [1, 0]
            added += _item_bytes(item)
        else:
            if smallest is None:
                smallest = [(count, other) for other, (count, _) in counts.items()]
                heapq.heapify(smallest)
            count, evicted = _evict(counts, smallest)
            counts[item] = [count + 1, count]
            added += _item_bytes(item) - _item_bytes(evicted)
            heapq.heappush(smallest, (count + 1, item))
    return added


def _evict(counts: _Counts, smallest: list[tuple[int, str]]) -> tuple[int, str]:
    """Remove a value of the smallest count; that count and the value. ``smallest`` is a heap of all values with
    lower bounds of their counts."""
    while True:
        count, item = heapq.heappop(smallest)
        if counts[item][0] == count:
            del counts[item]
            return count, item
        heapq.heappush(smallest, (counts[item][0], item))


def _merged(one: _Counts, other: _Counts, capacity: int) -> _Counts:
    missing = [
        min((count for count, _ in counts.values()), default=0) if len(counts) >= capacity else 0
        for counts in (one, other)
    ]
    both: _Counts = {}
    for item in {**one, **other}:
        pairs = [
            counts.get(item, [least, least])
            for counts, least in zip((one, other), missing, strict=True)
        ]
        both[item] = [sum(count for count, _ in pairs), sum(error for _, error in pairs)]
    return dict(_ranked(both)[:capacity])
