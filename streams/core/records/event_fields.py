"""Fields of a batch of events as columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from streams.core.records.text_spans import TextSpans

T = TypeVar("T")

Texts: TypeAlias = Sequence[str | None] | TextSpans
"""as strings or as places in a buffer"""


class EventFields(Protocol):
    """Columns of one length, by attribute name. Each method raises `TypeError` for a field of
    another type; `wholes` and `numbers` also for None."""

    def texts(self, name: str) -> Texts: ...

    def wholes(self, name: str) -> NDArray[np.int64]: ...

    def numbers(self, name: str) -> NDArray[np.float64]: ...


@dataclass(frozen=True, slots=True, eq=False)
class ObjectFields:
    events: Sequence[Any]

    def texts(self, name: str) -> list[str | None]:
        return self._column(name, {str, type(None)})

    def wholes(self, name: str) -> NDArray[np.int64]:
        return np.array(self._column(name, {int}), np.int64)

    def numbers(self, name: str) -> NDArray[np.float64]:
        return np.array(self._column(name, {int, float}), np.float64)

    def _column(self, name: str, types: set[type]) -> list[Any]:
        column = [getattr(event, name) for event in self.events]
        for other in set(map(type, column)) - types:
            expected = ", ".join(sorted(one.__name__ for one in types))
            raise TypeError(f"{name} is {other.__name__} in some events, expected {expected}")
        return column


def taken(column: Sequence[T], rows: NDArray[np.intp]) -> list[T]:
    return [column[row] for row in rows.tolist()]
