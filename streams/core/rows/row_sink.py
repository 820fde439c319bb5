"""A target of an agent's rows besides the ClickHouse shards: one class, and one line in the app.

    class Lines:
        def __init__(self, path: Path) -> None: ...
        async def write(self, batch: RowBatch) -> None: ...
        async def close(self) -> None: ...

    LINES = app.sink(
        "lines", columns={"account": str, "amount": float}, open=lambda *_: Lines(Path("sales"))
    )

    scope.fact(LINES, {"account": "a", "amount": 1.5})

A commit owes the rows (runtime/effects/effects.py), so they are written once the commit is true, and again
after a crash until the sink has acknowledged them by returning from `RowSink.write`.
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
    """Rows that one commit of one partition owes one sink, as columns of equal length.

    ``columns``: the declared ones, and ``ver`` and ``at`` of the commit. The same rows come again
    under the same ``name`` after a crash, at any later time, and never other rows.
    """

    sink: str
    group: str
    source: TopicPartition
    version: int
    """of the commit: its epoch and number; commits of one group and partition ascend"""
    part: int
    """a commit's rows for one sink may come in several batches. A row that the sink refused and a replay
    brings back is a batch of its own, with a number from `REPLAYED_PART` on."""
    columns: Mapping[str, Sequence[Any]]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    @property
    def name(self) -> str:
        """Unique to these rows: letters, digits, ``.``, ``_`` and ``-`` only."""
        topic, partition = self.source
        return f"{self.group}-{topic}-{partition}-{self.version:014x}-{self.part}"

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows one by one."""
        names = tuple(self.columns)
        for values in zip(*self.columns.values(), strict=True):
            yield dict(zip(names, values, strict=True))


class RowSink(Protocol):
    """What takes rows. One instance serves one process; calls come one at a time, from its loop."""

    async def write(self, batch: RowBatch) -> None:
        """Return once the rows are stored for good.

        The batch may come again, also after later ones: written twice it must leave one copy, for
        which `RowBatch.name` serves, or its parts: group, source, version and part. To refuse rows for
        good, store the others and raise `streams.core.rows.built_in_tables.RowsRefused`: each refused one becomes a dead
        letter, `row_refused`, which `dia replay` brings back. Whatever else it raises means "not
        stored": the batch is tried again with growing pauses, and the others of this sink wait behind
        it.
        """
        ...

    async def close(self) -> None: ...


OpenSink: TypeAlias = "Callable[[DeclaredSink, Settings], RowSink]"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredSink:
    """A sink of an app: ``columns`` as in `ClickHouseTable`; ``open`` makes the `RowSink` from this
    declaration and the settings, once in each worker process, when its first row is due, and once for
    each partition whose refused rows a replay brings back."""

    name: str
    columns: Mapping[str, str | type]
    open: OpenSink
    types: Mapping[str, ColumnType] = field(init=False)
    """of every column, those of the commit too"""
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
        """``row`` as the outbox keeps it. Raises `RowUnfit` as `ClickHouseTable.fit` does."""
        return fit_row(self.name, self.fits, row)
