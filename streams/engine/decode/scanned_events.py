"""The good events of a scanned batch: fields as columns, and events made on access."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from streams.core.formats.scalar_fields import ScalarFields
from streams.core.kernels.record_shape import (
    COLUMN,
    KIND,
    MAY_LACK,
    NULLABLE,
    NUMBER,
    PADDING,
    TEXT,
    WHOLE,
)
from streams.core.records.text_spans import TextSpans, joined

Rows = NDArray[np.intp]

_NAMES = {TEXT: "text", WHOLE: "whole numbers", NUMBER: "numbers"}


@dataclass(frozen=True, slots=True, eq=False)
class ScannedFields:
    """Outputs of the kernel `scan` over ``buffer``. ``rows``: the valid columns, in order; None:
    all."""

    table: ScalarFields
    buffer: NDArray[np.uint8]
    text_at: NDArray[np.int64]
    text_size: NDArray[np.int64]
    whole_values: NDArray[np.int64]
    number_values: NDArray[np.float64]
    absent: NDArray[np.bool_]
    rows: Rows | None = None

    @classmethod
    def empty(cls, table: ScalarFields, buffer: NDArray[np.uint8], records: int) -> ScannedFields:
        texts, wholes, numbers = map(table.count, (TEXT, WHOLE, NUMBER))
        return cls(
            table,
            buffer,
            np.empty((texts, records), np.int64),
            np.empty((texts, records), np.int64),
            np.empty((wholes, records), np.int64),
            np.empty((numbers, records), np.float64),
            np.zeros((len(table.shape), records), np.bool_),
        )

    @classmethod
    def of_events(cls, table: ScalarFields, events: Sequence[Any]) -> ScannedFields:
        """Without a scan. Raises OverflowError for an integer beyond 64 bits."""
        nothing = np.zeros(PADDING, np.uint8)
        return cls.empty(table, nothing, len(events)).with_events(np.arange(len(events)), events)

    def __len__(self) -> int:
        return self.absent.shape[1] if self.rows is None else len(self.rows)

    def behind(self, arena: NDArray[np.uint8]) -> ScannedFields:
        """With ``arena`` behind ``buffer``; places from the length of ``buffer`` on are in it."""
        return replace(self, buffer=np.concatenate([self.buffer, arena]))

    def take(self, rows: Rows) -> ScannedFields:
        """A selection, by index among the valid rows."""
        return replace(self, rows=rows if self.rows is None else self.rows[rows])

    def texts(self, name: str) -> TextSpans:
        """A text field. Raises TypeError for a field of another type."""
        place = self._place(name, TEXT)
        column = self.table.shape[place, COLUMN]
        absent = self._counting(self.absent[place])
        at, size = self._counting(self.text_at[column]), self._counting(self.text_size[column])
        return TextSpans(self.buffer, at, size, absent if absent.any() else None)

    def wholes(self, name: str) -> NDArray[np.int64]:
        """An integer field. Raises TypeError for another type, and if one is None."""
        place = self._present(name, WHOLE)
        column: NDArray[np.int64] = self.whole_values[self.table.shape[place, COLUMN]]
        return self._counting(column)

    def numbers(self, name: str) -> NDArray[np.float64]:
        """A number field, integers included. Raises TypeError for another type, and if one is
        None."""
        if self.table.shape[self.table.places[name], KIND] == WHOLE:
            return self.wholes(name).astype(np.float64)
        place = self._present(name, NUMBER)
        column: NDArray[np.float64] = self.number_values[self.table.shape[place, COLUMN]]
        return self._counting(column)

    def _place(self, name: str, kind: int) -> int:
        place = self.table.places[name]
        if self.table.shape[place, KIND] != kind:
            raise TypeError(f"{name} is not a field of {_NAMES[kind]}")
        return place

    def _present(self, name: str, kind: int) -> int:
        place = self._place(name, kind)
        if self.table.shape[place, [NULLABLE, MAY_LACK]].any() and self.lacking(name).any():
            raise TypeError(f"{name} is None in some events: read them from `events`")
        return place

    def filled(self, name: str) -> NDArray[Any]:
        """A field of integers or numbers, with 0 where it is None."""
        kind, column = self.table.shape[self.table.places[name], [KIND, COLUMN]].tolist()
        values = self._counting(
            (self.whole_values if kind == WHOLE else self.number_values)[column]
        )
        lacking = self.lacking(name)
        return np.where(lacking, values.dtype.type(0), values) if lacking.any() else values

    def lacking(self, name: str) -> NDArray[np.bool_]:
        """Which events have None there."""
        return self._counting(self.absent[self.table.places[name]])

    def _counting(self, column: NDArray[Any]) -> NDArray[Any]:
        return column if self.rows is None else column[self.rows]

    def with_events(self, rows: Rows, events: Sequence[Any]) -> ScannedFields:
        """With the fields of ``events`` for the records ``rows``. Raises OverflowError for an
        integer beyond 64 bits."""
        texts: list[bytes] = []
        columns: list[NDArray[np.intp]] = []
        text_rows: list[Rows] = []
        for name, place in self.table.places.items():
            values, at = [getattr(event, name) for event in events], rows
            lacks = np.array([value is None for value in values], np.bool_)
            self.absent[place, rows] = lacks
            if lacks.any():
                values, at = [value for value in values if value is not None], rows[~lacks]
            kind, column = self.table.shape[place, [KIND, COLUMN]].tolist()
            if kind == TEXT:
                texts += map(str.encode, values)
                columns.append(np.full(len(at), column))
                text_rows.append(at)
            elif kind == WHOLE:
                self.whole_values[column, at] = np.array(values, np.int64)
            else:
                self.number_values[column, at] = np.array(values, np.float64)
        if not texts:
            return self
        added = joined(texts)
        places = np.concatenate(columns), np.concatenate(text_rows)
        self.text_at[places] = len(self.buffer) + added.at
        self.text_size[places] = added.size
        return self.behind(added.buffer)


class ScannedEvents(Sequence[Any]):
    """``values``: of all records of the batch; ``rows``: the good ones among them (None: all).
    ``known``: events decoded before, by row."""

    def __init__(
        self,
        decode: Callable[[bytes], Any],
        values: Sequence[bytes | None],
        rows: Rows | None,
        known: Mapping[int, Any],
    ) -> None:
        self._decode = decode
        self._values = values
        self._rows = rows
        self._known = known

    def __len__(self) -> int:
        return len(self._values) if self._rows is None else len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        row = range(len(self))[index] if self._rows is None else int(self._rows[index])
        return self._known[row] if row in self._known else self._decode(self._values[row] or b"")

    def take(self, rows: Rows) -> ScannedEvents:
        """A selection, by index among the good ones."""
        kept = rows if self._rows is None else self._rows[rows]
        return ScannedEvents(self._decode, self._values, kept, self._known)
