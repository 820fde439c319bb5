"""A target of agents' rows besides ClickHouse: one class, and one line in the app.

    class Lines:
        def __init__(self, path: Path) -> None: ...
        async def write(self, batch: RowBatch) -> None: ...
        async def close(self) -> None: ...
    LINES = app.sink(
        "lines", columns={"account": str, "amount": float}, open=lambda *_: Lines(Path("sales"))
    )
    scope.fact(LINES, {"account": "a", "amount": 1.5})

Rows are in the outbox of a commit (runtime/effects/effects.py): they are written after it, and
again after a crash, until `RowSink.write` returns.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeAlias

from streams.core.errors import UsageError
from streams.core.rows.clickhouse_table import MOMENT, VERSION
from streams.core.rows.column_type import ColumnType, Fit, column_type, fit_row
from streams.core.rows.row_json import TARGET
from streams.core.settings import Settings
from streams.core.types import TopicPartition

REPLAYED_PART: Final = 1 << 56

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True)
class RowBatch:
    """Rows of one commit of one partition for one sink, as columns of equal length, with ``ver``
    and ``at`` of the commit. After a crash the same rows come again under the same ``name``, at any
    later time, and never other rows."""

    sink: str
    group: str
    source: TopicPartition
    version: int
    """of the commit: epoch and number; ascends per group and partition"""
    part: int
    """Number of the batch within its commit. A refused row that a replay brings back is a batch of
    its own, numbered from `REPLAYED_PART`."""
    columns: Mapping[str, Sequence[Any]]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    @property
    def name(self) -> str:
        """Unique to these rows: letters, digits, ``.``, ``_`` and ``-`` only. A group has no dot."""
        topic, partition = self.source
        return f"{self.group}.{topic}-{partition}-{self.version:014x}-{self.part}"

    def rows(self) -> Iterator[dict[str, Any]]:
        names = tuple(self.columns)
        for values in zip(*self.columns.values(), strict=True):
            yield dict(zip(names, values, strict=True))


class RowSink(Protocol):
    """One instance per process; calls are sequential, on its loop."""

    async def write(self, batch: RowBatch) -> None:
        """Return once the rows are durable.

        The batch may come again, also after later ones; a second write must leave one copy, by
        `RowBatch.name` or its parts: group, source, version and part. To refuse rows for good,
        store the others and raise `streams.core.rows.built_in_tables.RowsRefused`: each becomes a
        dead letter, `row_refused`, which `dia replay` brings back. Any other exception means "not
        stored": the batch is retried with growing pauses, and later ones of this sink wait.
        """
        ...

    async def close(self) -> None: ...


OpenSink: TypeAlias = "Callable[[DeclaredSink, Settings], RowSink]"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredSink:
    """``columns`` as in `ClickHouseTable`. ``open`` creates the `RowSink` once per worker process
    at its first row, and once per partition whose refused rows are replayed."""

    name: str
    columns: Mapping[str, str | type]
    open: OpenSink
    types: Mapping[str, ColumnType] = field(init=False)
    """of every column, those of the commit included"""
    fits: Mapping[str, Fit] = field(init=False, repr=False)
    """of the declared columns"""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise UsageError(
                f"a sink cannot be called {self.name!r}: use letters, digits, _ and -."
            )
        types = {}
        for name, declared in self.columns.items():
            if name in (VERSION, MOMENT):
                raise UsageError(f"sink {self.name!r}: the column {name!r} is the commit's.")
            if name == TARGET:
                raise UsageError(f"sink {self.name!r}: a column cannot be called {name!r}.")
            try:
                types[name] = column_type(declared)
            except ValueError as error:
                raise UsageError(f"sink {self.name!r}, column {name!r}: {error}.") from None
        object.__setattr__(self, "fits", {name: kind.fit for name, kind in types.items()})
        own = {VERSION: column_type("UInt64"), MOMENT: column_type("Int64")}
        object.__setattr__(self, "types", {**types, **own})

    def fit(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """As the outbox keeps it. Raises `RowUnfit` as `ClickHouseTable.fit`."""
        return fit_row(self.name, self.fits, row)
