"""Declares a table in ClickHouse: rows, DDL, view, shard key.

    SALES = app.clickhouse_table(
        "sales", columns={"account": str, "amount": float, "at_ms": datetime},
        order_by=("account", "at_ms"), shard_by=("account",), ttl_days=400,
    )
    scope.fact(SALES, {"account": "a", "amount": 1.5, "at_ms": 1_700_000_000_000})

The engine adds ``ver`` (the version of the writing commit), ``at`` (its time) and, in a table
``in_epoch``, ``epoch``. Per ``order_by`` key the row with the highest ``ver`` stays, so inserts may
be repeated.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from streams.core.errors import UsageError
from streams.core.rows.column_type import TIME, ColumnType, Fit, column_type, fit_row
from streams.core.rows.row_json import TARGET

VERSION, MOMENT, EPOCH, MOVED = "ver", "at", "epoch", "moved"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_FSYNC = "fsync_after_insert = 1, fsync_part_directory = 1"


@dataclass(frozen=True, slots=True)
class Column:
    """``type`` in ClickHouse's notation, or a Python type (str, int, float, bool, datetime, date)."""

    type: str | type
    codec: str = ""
    """e.g. "ZSTD(3)"; empty: the server's default"""
    comment: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClickHouseTable:
    """Raises `UsageError` for an invalid declaration.

    ``shard_by``: columns that choose a row's shard; part of ``order_by``, so that one key stays on
    one shard. ``day_of``: a time in the key, of windows, whose UTC day chooses the shard map
    (docs/protocols/shard_maps.md), and ``moved`` is part of the key (`streams.core.rows.moved_mark`); "": the
    first map places every row. ``in_epoch``: the key contains an offset, which `dia tables reset` reuses, so the
    epoch is part of the key."""

    name: str
    columns: Mapping[str, str | type | Column]
    order_by: tuple[str, ...]
    shard_by: tuple[str, ...]
    partition_by: str = ""
    ttl_days: int | None = None
    in_epoch: bool = False
    day_of: str = ""
    description: str = ""
    types: Mapping[str, ColumnType] = field(init=False)
    """of every column, added ones included, in their public order"""
    fits: Mapping[str, Fit] = field(init=False, repr=False)
    """of the declared columns"""

    def __post_init__(self) -> None:
        types = self._types()
        object.__setattr__(self, "types", types)
        object.__setattr__(self, "fits", {name: types[name].fit for name in self.columns})
        key = [*self.order_by, *self.shard_by]
        if not self.order_by or not self.shard_by:
            raise self._wrong("order_by and shard_by need a column each")
        for name in key:
            if name not in self.columns:
                raise self._wrong(f"its key names {name!r}, which is no column that it declares")
            if self.types[name].name in ("Nullable", "Map", "Array"):
                raise self._wrong(f"its key column {name!r} cannot be {self.types[name]}")
        outside = [name for name in self.shard_by if name not in self.order_by]
        if outside:
            raise self._wrong(f"shard_by names {outside[0]!r}, which order_by does not")
        if self.ttl_days is not None and self.ttl_days < 1:
            raise self._wrong(f"ttl_days is {self.ttl_days}, the least is 1")

    def _types(self) -> dict[str, ColumnType]:
        types = {}
        for name, declared in self.columns.items():
            if not _NAME.fullmatch(name) or name in (VERSION, MOMENT, TARGET):
                raise self._wrong(f"a column cannot be called {name!r}")
            try:
                types[name] = column_type(_column(declared).type)
            except ValueError as error:
                raise self._wrong(f"column {name!r}: {error}") from None
        if not _NAME.fullmatch(self.name):
            raise self._wrong("use letters, digits and _")
        if self.in_epoch:
            if EPOCH in types:
                raise self._wrong("in_epoch adds the column 'epoch' by itself")
            types[EPOCH] = column_type("UInt32")
        if self.day_of:
            if MOVED in types:
                raise self._wrong("day_of adds the column 'moved' by itself")
            types[MOVED] = column_type("UInt32")
        return {**types, VERSION: column_type("UInt64"), MOMENT: column_type(TIME)}

    def _wrong(self, why: str) -> UsageError:
        return UsageError(f"ClickHouse table {self.name!r}: {why}.")

    @property
    def key(self) -> tuple[str, ...]:
        """The columns of a row's identity, in sort order."""
        added = ([EPOCH] if self.in_epoch else []) + ([MOVED] if self.day_of else [])
        return (*self.order_by, *added)

    @property
    def shown(self) -> Mapping[str, ColumnType]:
        """The columns of its view."""
        return {name: kind for name, kind in self.types.items() if not self.day_of or name != MOVED}

    def fit(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """As the outbox keeps it. Raises `RowUnfit` for a missing or undeclared column, and for a
        value that does not fit."""
        return fit_row(self.name, self.fits, row)

    def create(self, database: str, engine: str) -> list[str]:
        """Create the ``_local`` table or add missing columns. ``engine``: the engine clause."""
        table = f"{database}.{self.name}_local"
        columns = {name: self._definition(name) for name in self.types}
        parts = [
            f"CREATE TABLE IF NOT EXISTS {table}",
            "(\n    " + ",\n    ".join(columns.values()) + "\n)",
            f"ENGINE = {engine}",
            *([f"PARTITION BY {self.partition_by}"] if self.partition_by else []),
            f"ORDER BY ({', '.join(self.key)})",
            *([self._ttl] if self.ttl_days is not None else []),
            f"SETTINGS {_FSYNC}",
            f"COMMENT {quoted(self.description)}",
        ]
        added = [
            f"ADD COLUMN IF NOT EXISTS {text}"
            for name, text in columns.items()
            if name not in self.key
        ]
        changes = [",\n    ".join(added), f"MODIFY COMMENT {quoted(self.description)}"]
        if self.ttl_days is not None:
            changes.append(f"MODIFY {self._ttl}")
        return ["\n".join(parts), *(f"ALTER TABLE {table}\n    {change}" for change in changes)]

    @property
    def _ttl(self) -> str:
        return f"TTL toDateTime({MOMENT}) + INTERVAL {self.ttl_days} DAY DELETE"

    def _definition(self, name: str) -> str:
        declared = _column(self.columns[name]) if name in self.columns else Column("")
        words = [name, str(self.types[name])]
        if name == MOMENT:
            words.append("DEFAULT now64(3)")
        if declared.codec:
            words.append(f"CODEC({declared.codec})")
        if declared.comment:
            words.append(f"COMMENT {quoted(declared.comment)}")
        return " ".join(words)


def _column(declared: str | type | Column) -> Column:
    return declared if isinstance(declared, Column) else Column(declared)


def quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
