"""Aggregators: a declaration, and the states of a partition's live windows as columns.

The state of a window is in the *slot* of that number. Laws of each aggregator
(tests/properties/test_aggregate_laws.py):

    fold    a batch of records gives the state of one by one, bit for bit
    merge   commutative and associative; of `TopK` within its error bound, of sums within rounding
    code    `restore` is the inverse of `written`

Nulls are skipped, as in SQL. A window without a value has null columns.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from streams.core.errors import UsageError
from streams.core.rows.window_figures import Merge

Slots: TypeAlias = NDArray[np.int64]
Numbers: TypeAlias = NDArray[np.int64] | NDArray[np.float64]

COLUMN_TYPES: Mapping[type, str] = {str: "String", int: "Int64", float: "Float64", bool: "Bool"}


class FieldType(NamedTuple):
    """The type of a field of events. ``kind`` is str, int, float or bool."""

    kind: type
    optional: bool = False

    def __str__(self) -> str:
        return f"{self.kind.__name__} | None" if self.optional else self.kind.__name__

    @property
    def column(self) -> str:
        return self.nullable(COLUMN_TYPES[self.kind])

    def nullable(self, column: str) -> str:
        """``column``, nullable if a window may have no value of the field."""
        return f"Nullable({column})" if self.optional else column


@dataclass(frozen=True, slots=True)
class FieldValues:
    """The values of one field of a batch. ``values``: an array of float64, or of int64 for integers
    and booleans, or a list of text. ``present`` None: no value is null. ``text_bytes``: memory of the
    texts, at least."""

    values: Any
    present: NDArray[np.bool_] | None = None
    text_bytes: int = 0

    def take(self, rows: NDArray[np.int64]) -> FieldValues:
        whole = self.values
        values = [whole[row] for row in rows.tolist()] if isinstance(whole, list) else whole[rows]
        present = None if self.present is None else self.present[rows]
        return FieldValues(values, present, self.text_bytes)


@dataclass(frozen=True, slots=True)
class Additions:
    """Records of a batch in log order, as parallel columns. ``slots``: the window of each record, -1
    one that has no slot yet; ``times_ms``: event time; ``offsets``: source offset."""

    slots: Slots
    times_ms: NDArray[np.int64]
    offsets: NDArray[np.int64]
    fields: Mapping[str, FieldValues]

    def take(self, rows: NDArray[np.int64]) -> Additions:
        return Additions(
            self.slots[rows],
            self.times_ms[rows],
            self.offsets[rows],
            {name: values.take(rows) for name, values in self.fields.items()},
        )

    def of(self, field: str) -> tuple[Additions, Any]:
        """The records whose ``field`` is not null, and its values."""
        found = self.fields[field]
        if found.present is None or found.present.all():
            return self, found.values
        kept = replace(self, fields={field: found}).take(self.rows_of(field))
        return kept, kept.fields[field].values

    def rows_of(self, field: str) -> NDArray[np.int64]:
        """The numbers of the records whose ``field`` is not null."""
        present = self.fields[field].present
        return np.arange(len(self.slots)) if present is None else np.flatnonzero(present)


class States(ABC):
    """The states of one aggregator in all slots of a partition.

    Sizes are bytes of memory beyond `Aggregate.slot_bytes`. They are at least those in use, and of two
    merged states at most the sum. A batch adds at most the sum of what its records add.
    """

    varies: ClassVar[bool] = True
    """whether a size is ever above 0"""

    @abstractmethod
    def resize(self, capacity: int) -> None:
        """Grow to ``capacity`` slots."""

    @abstractmethod
    def begin(self, slots: Slots) -> None:
        """Set these slots to a window without records."""

    @abstractmethod
    def fold(self, additions: Additions) -> None:
        """Add records."""

    @abstractmethod
    def merge(self, into: Slots, other: Slots) -> None:
        """Add the state of ``other[i]`` to that of ``into[i]``. ``into`` has no slot twice."""

    @abstractmethod
    def written(self, slots: Slots) -> list[Any]:
        """The state of each slot as MessagePack types. Encode it before the next call: it may be
        the state itself."""

    @abstractmethod
    def restore(self, slots: Slots, written: Sequence[Any]) -> None:
        """The inverse of `written`."""

    @abstractmethod
    def rows(self, slots: Slots) -> list[Sequence[Any]]:
        """The values of each column, in the order of `Aggregate.columns`."""

    @abstractmethod
    def sizes(self, slots: Slots) -> list[int]:
        """The size of each slot."""

    @abstractmethod
    def adds(self, additions: Additions) -> NDArray[np.int64]:
        """How much each record would add at most to the size of its slot as it is; 0 for a value that
        the state has."""


@dataclass(frozen=True)
class Aggregate(ABC):
    """A declared aggregator of the values of ``field``."""

    field: str

    word: ClassVar[str]
    """its name in messages and in the stored declaration"""
    takes: ClassVar[frozenset[type]] = frozenset({int, float, bool})
    """types of field that it aggregates"""
    slot_bytes: ClassVar[int] = 40
    merge: ClassVar[Merge] = "none"
    """how readers get a figure of several rows from those of each"""
    counts: ClassVar[bool] = False
    """whether its figure is a number of records, drawn as bars"""

    @property
    def accuracy(self) -> str:
        """How exact its columns are, for readers; "": exact."""
        return ""

    @property
    def fields(self) -> tuple[str, ...]:
        return (self.field,)

    @property
    def options(self) -> Mapping[str, Any]:
        """Options that change the meaning of a stored state, besides the field."""
        return {}

    def declaration(self, types: Mapping[str, FieldType]) -> str:
        """The text that must not change while a state exists."""
        options = [f"{name}={value}" for name, value in self.options.items()]
        kinds = [f"{name}: {types[name]}" for name in self.fields]
        return f"{self.word}({', '.join([*kinds, *options])})"

    def check(self, types: Mapping[str, FieldType]) -> None:
        """Raises `UsageError` for a field of another type."""
        for name in self.fields:
            if types[name].kind not in self.takes:
                known = ", ".join(sorted(kind.__name__ for kind in self.takes))
                raise UsageError(
                    f"{self.word}({name!r}) takes fields of {known}, and this is {types[name]}."
                )

    @property
    def state_bytes_max(self) -> int:
        return 100

    def adds_at_most(self, records: int, fields: Mapping[str, FieldValues]) -> int:
        """How much so many records add at most to the sizes of states (`States`), without a look at
        them."""
        return 0

    @abstractmethod
    def columns(self, name: str, types: Mapping[str, FieldType]) -> Mapping[str, str]:
        """The columns of its rows, declared as ``name``, and their ClickHouse types."""

    @abstractmethod
    def states(self, types: Mapping[str, FieldType]) -> States:
        """Empty states for one partition."""


class SlotArrays:
    def __init__(self, **columns: tuple[DTypeLike, Any]) -> None:
        self._initial = {name: initial for name, (_, initial) in columns.items()}
        self.arrays: dict[str, NDArray[Any]] = {
            name: np.full(0, initial, dtype) for name, (dtype, initial) in columns.items()
        }

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.arrays[name]

    def resize(self, capacity: int) -> None:
        for name, array in self.arrays.items():
            grown = np.full(capacity, self._initial[name], array.dtype)
            grown[: len(array)] = array
            self.arrays[name] = grown

    def begin(self, slots: Slots) -> None:
        for name, array in self.arrays.items():
            array[slots] = self._initial[name]

    def written(self, slots: Slots) -> list[Any]:
        columns = [array[slots].tolist() for array in self.arrays.values()]
        return columns[0] if len(columns) == 1 else [*zip(*columns, strict=True)]

    def restore(self, slots: Slots, written: Sequence[Any]) -> None:
        if not len(slots):
            return
        columns = [written] if len(self.arrays) == 1 else [*zip(*written, strict=True)]
        for array, column in zip(self.arrays.values(), columns, strict=True):
            array[slots] = column


class ArrayStates(States):
    varies: ClassVar[bool] = False

    def __init__(self, **columns: tuple[DTypeLike, Any]) -> None:
        self.state = SlotArrays(**columns)

    def resize(self, capacity: int) -> None:
        self.state.resize(capacity)

    def begin(self, slots: Slots) -> None:
        self.state.begin(slots)

    def written(self, slots: Slots) -> list[Any]:
        return self.state.written(slots)

    def restore(self, slots: Slots, written: Sequence[Any]) -> None:
        self.state.restore(slots, written)

    def sizes(self, slots: Slots) -> list[int]:
        return [0] * len(slots)

    def adds(self, additions: Additions) -> NDArray[np.int64]:
        return np.zeros(len(additions.slots), np.int64)


def or_null(values: Sequence[Any], present: NDArray[np.bool_]) -> list[Any]:
    found = list(values)
    for row in np.flatnonzero(~present).tolist():
        found[row] = None
    return found
