"""Events as columns, and a ring of recent ones for duplicates."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class EventColumns(NamedTuple):
    """``id`` has two 64-bit words per row, names are codes."""

    id: NDArray[np.uint64]
    tenant: NDArray[np.int32]
    model: NDArray[np.int32]
    metric: NDArray[np.int32]
    run: NDArray[np.int32]
    ts: NDArray[np.int64]
    value: NDArray[np.float64]

    def take(self, rows: NDArray[Any]) -> EventColumns:
        return EventColumns(
            id=self.id[rows],
            tenant=self.tenant[rows],
            model=self.model[rows],
            metric=self.metric[rows],
            run=self.run[rows],
            ts=self.ts[rows],
            value=self.value[rows],
        )

    def put(self, rows: NDArray[Any], other: EventColumns) -> None:
        mine: tuple[NDArray[Any], ...] = self
        for column, theirs in zip(mine, other, strict=True):
            column[rows] = theirs


class EventHistory:
    """The last ``capacity`` events, and for each the nearest repeatable one at or before it."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._repeatable = np.zeros(capacity, np.int64)
        self._columns = EventColumns(
            id=np.zeros((capacity, 2), np.uint64),
            tenant=np.zeros(capacity, np.int32),
            model=np.zeros(capacity, np.int32),
            metric=np.zeros(capacity, np.int32),
            run=np.zeros(capacity, np.int32),
            ts=np.zeros(capacity, np.int64),
            value=np.zeros(capacity),
        )

    def append(
        self, index: NDArray[np.int64], columns: EventColumns, repeatable: NDArray[np.int64]
    ) -> None:
        """Event i may be repeated as ``repeatable[i]``."""
        rows = index % self._capacity
        self._columns.put(rows, columns)
        self._repeatable[rows] = repeatable

    def repeat(self, index: NDArray[np.int64]) -> EventColumns:
        source = self._repeatable[index % self._capacity]
        return self._columns.take(source % self._capacity)
