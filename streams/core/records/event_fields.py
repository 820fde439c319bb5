"""Fields of a batch of events as columns, wherever they come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from streams.core.records.text_spans import TextSpans

T = TypeVar("T")

Texts: TypeAlias = Sequence[str | None] | TextSpans
"""A column of texts, as strings or as places in a buffer."""


class EventFields(Protocol):
    """Columns of one length, by the name of the attribute."""

    def texts(self, name: str) -> Texts:
        """A field of text."""
        ...

    def wholes(self, name: str) -> NDArray[np.int64]:
        """A field of whole numbers, of which none is None."""
        ...

    def numbers(self, name: str) -> NDArray[np.float64]:
        """A field of numbers, of which none is None."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class ObjectFields:
    """Of events that were decoded one by one."""

    events: Sequence[Any]

    def texts(self, name: str) -> list[str | None]:
        return [getattr(event, name) for event in self.events]

    def wholes(self, name: str) -> NDArray[np.int64]:
        return np.array([getattr(event, name) for event in self.events], np.int64)

    def numbers(self, name: str) -> NDArray[np.float64]:
        return np.array([getattr(event, name) for event in self.events], np.float64)


def taken(column: Sequence[T], rows: NDArray[np.intp]) -> list[T]:
    """The elements at the given indexes."""
    return [column[row] for row in rows.tolist()]
