"""The keys of windows by number.

A table of windows gives each key a number in order of first sight, and looks its windows up by it. The
keys of a batch come as a tuple for each record, or as columns of the scanner. Columns are looked up by
kernels: a number for each different text of a field, and one for each different row of those numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from streams.core.kernels.record_shape import PADDING
from streams.core.records.text_spans import TextSpans
from streams.engine.windows.name_spans import NameSpans

Key: TypeAlias = tuple[Any, ...]
KeyColumn: TypeAlias = TextSpans | NDArray[np.int64]
"""One field of the keys, never null."""
_WORD_BYTES: Final = 8
_BYTES_OF_UTF8: Final = 4
"""memory that a byte of UTF-8 takes at most"""


class BatchKeys(Protocol):
    """The key of each record of a batch."""

    def __len__(self) -> int: ...

    @property
    def text_bytes(self) -> int:
        """Memory of all texts (`text_bytes`), at least; of all records after `take`, too."""
        ...

    def take(self, rows: NDArray[np.int64]) -> BatchKeys: ...

    def tuples(self) -> Sequence[Key]: ...


class KeyTuples:
    def __init__(self, keys: Sequence[Key], text_bytes: int) -> None:
        self._keys = keys
        self._text_bytes = text_bytes

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def text_bytes(self) -> int:
        return self._text_bytes

    def take(self, rows: NDArray[np.int64]) -> KeyTuples:
        chosen: list[int] = rows.tolist()
        return KeyTuples([self._keys[row] for row in chosen], self._text_bytes)

    def tuples(self) -> Sequence[Key]:
        return self._keys


@dataclass(frozen=True, slots=True, eq=False)
class KeyColumns:
    """``columns``: at least one, in the order of the fields."""

    columns: tuple[KeyColumn, ...]

    def __len__(self) -> int:
        return len(self.columns[0])

    @property
    def text_bytes(self) -> int:
        texts = (column.size for column in self.columns if isinstance(column, TextSpans))
        return _BYTES_OF_UTF8 * sum(int(sizes.sum()) for sizes in texts)

    def take(self, rows: NDArray[np.int64]) -> KeyColumns:
        return KeyColumns(
            tuple(
                column.take(rows) if isinstance(column, TextSpans) else column[rows]
                for column in self.columns
            )
        )

    def tuples(self) -> Sequence[Key]:
        return [
            *zip(
                *(
                    column.texts() if isinstance(column, TextSpans) else column.tolist()
                    for column in self.columns
                ),
                strict=True,
            )
        ]


class KeyNumbers:
    """Numbers from 0 on, until `keep` gives new ones."""

    def __init__(self) -> None:
        self._number: dict[Key, int] = {}
        self._keys: list[Key] = []
        self._columns: _ColumnNumbers | None = None
        self._new_bytes = 0

    @property
    def new_bytes(self) -> int:
        """Characters of the texts of the keys that were added since `keep`."""
        return self._new_bytes

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, number: int) -> Key:
        return self._keys[number]

    def find(self, key: Key) -> int | None:
        return self._number.get(key)

    def add(self, key: Key) -> int:
        """The number of ``key``, a new one if it has none."""
        number = self._number.setdefault(key, len(self._keys))
        if number == len(self._keys):
            self._keys.append(key)
            self._new_bytes += sum(len(part) for part in key if isinstance(part, str))
        return number

    def of(self, keys: BatchKeys) -> NDArray[np.int64]:
        """The number of each key; new ones are added."""
        if isinstance(keys, KeyColumns):
            if self._columns is None:
                self._columns = _ColumnNumbers(len(keys.columns))
            return self._columns.of(keys, self)
        return self.of_tuples(keys.tuples())

    def of_tuples(self, keys: Sequence[Key]) -> NDArray[np.int64]:
        try:
            return np.fromiter(map(self._number.__getitem__, keys), np.int64, len(keys))
        except KeyError:
            return np.fromiter(map(self.add, keys), np.int64, len(keys))

    def keep(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Forget all other keys. ``numbers`` may repeat; the new number of each."""
        kept, place = np.unique(numbers, return_inverse=True)
        keys = [self._keys[number] for number in kept.tolist()]
        self._number = {key: number for number, key in enumerate(keys)}
        self._keys = keys
        self._columns, self._new_bytes = None, 0
        return place.astype(np.int64)


class _ColumnNumbers:
    """The number of each key that came in columns, by the numbers of its texts."""

    def __init__(self, columns: int) -> None:
        self._texts = [NameSpans() for _ in range(columns)]
        self._rows = NameSpans()
        self._number = np.zeros(64, np.int64)
        """by number of the row"""

    def of(self, keys: KeyColumns, known: KeyNumbers) -> NDArray[np.int64]:
        rows = self._as_rows(keys)
        found, unknown = self._rows.codes(rows)
        if unknown:
            self._learn(rows, np.flatnonzero(found < 0), keys, known)
            found, _ = self._rows.codes(rows)
        return self._number[found]

    def _as_rows(self, keys: KeyColumns) -> TextSpans:
        """A row of eight bytes a field for each key: an integer, or the number of a text."""
        count, width = len(keys), len(keys.columns)
        words = np.zeros(count * width + PADDING // _WORD_BYTES, np.int64)
        table = words[: count * width].reshape(count, width)
        for place, column in enumerate(keys.columns):
            table[:, place] = (
                _numbered(self._texts[place], column) if isinstance(column, TextSpans) else column
            )
        size = width * _WORD_BYTES
        at = np.arange(0, count * size, size)
        return TextSpans(words.view(np.uint8), at, np.full(count, size, np.int64))

    def _learn(
        self, rows: TextSpans, new: NDArray[np.intp], keys: KeyColumns, known: KeyNumbers
    ) -> None:
        first: dict[bytes | None, int] = {}
        for row, raw in zip(new.tolist(), rows.take(new).encoded(), strict=True):
            first.setdefault(raw, row)
        start, end = len(self._rows), len(self._rows) + len(first)
        self._rows.add([raw for raw in first if raw is not None])
        if end > len(self._number):
            self._number = np.resize(self._number, max(2 * len(self._number), end))
        added = keys.take(np.array([*first.values()], np.int64)).tuples()
        self._number[start:end] = known.of_tuples(added)


def _numbered(known: NameSpans, texts: TextSpans) -> NDArray[np.int64]:
    found, unknown = known.codes(texts)
    if unknown:
        new = dict.fromkeys(texts.take(np.flatnonzero(found < 0)).encoded())
        known.add([text for text in new if text is not None])
        found, _ = known.codes(texts)
    return found
