"""`app.windows`: declared windows of event time with aggregators.

    per_minute = app.windows(
        "orders_per_minute", of=orders, by=("account",), size="60s", grace="30s",
        fold={"n": Count(), "total": Sum("amount"), "q": Quantiles("amount", at=(0.5, 0.99))},
    )

A record belongs to every window that holds its event time. The ClickHouse table of the windows'
name has one row for each key and window:

    account...     the fields of ``by``
    w, w_end       start and end of the window; of a session, its first and its last event
    part, epoch    the partition, and the number of resets of its state; part of the key
    closed         the row is final
    n, total...    the columns of the aggregators

A record is *late* if all its windows are closed. If it is late for one of several windows of a
topic that have ``late="dead_letter"``, it is folded into none, so that a replay does not count it
twice.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal, NamedTuple, TypeAlias

from streams.core.errors import UsageError
from streams.core.rows.clickhouse_table import EPOCH, MOVED, ClickHouseTable
from streams.core.rows.column_type import TIME
from streams.core.topics.topic import TENANT_FIELD, Topic
from streams.engine.aggregates.aggregate import COLUMN_TYPES, Aggregate, FieldType
from streams.engine.aggregates.field_columns import KEY_KINDS, field_types
from streams.engine.engine_tables import ENGINE_TABLES
from streams.engine.state.table import MAX_ENTRY_BYTES, TableContext, TableSpec
from streams.engine.state.table_values import KEY_MAX_BYTES
from streams.engine.windows.aggregated.aggregate_table import AggregateTable
from streams.engine.windows.aggregated.aggregate_windows import AggregateWindows, pane_ms
from streams.engine.windows.aggregated.session_windows import SessionWindows
from streams.engine.windows.aggregated.window_keys import Key
from streams.engine.windows.windowed import Windows

Span: TypeAlias = float | timedelta | str
"""Seconds, a timedelta, or a number with a unit: "500ms", "90s", "5m", "1h", "1d"."""
Late: TypeAlias = Literal["dead_letter", "drop"]

START, END, PART, CLOSED = "w", "w_end", "part", "closed"
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
_UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_LONGEST_MS = _UNITS_MS["d"]
_PANES_MAX = 1440


class ClosedWindow(NamedTuple):
    """The argument of ``on_window_close``. ``key``: the fields of ``by``; ``values``: the columns
    of the aggregators. Times are milliseconds since the Unix epoch."""

    key: Mapping[str, Any]
    start_ms: int
    end_ms: int
    values: Mapping[str, Any]


OnClose: TypeAlias = Callable[[ClosedWindow], None]


def span_ms(what: str, span: Span) -> int:
    """Whole milliseconds. Raises `UsageError` for an invalid length of time."""
    seconds: float | None = None
    if isinstance(span, timedelta):
        seconds = span.total_seconds()
    elif isinstance(span, str):
        if found := _SPAN.fullmatch(span.strip()):
            seconds = float(found[1]) * _UNITS_MS[found[2]] / 1000
    elif isinstance(span, int | float):
        seconds = float(span)
    if seconds is None or not 0 <= seconds < 1e9:
        raise UsageError(
            f"{what}={span!r} is not a length of time: give seconds, a timedelta, or text like "
            "'90s', '5m', '1h'."
        )
    return round(seconds * 1000)


@dataclass(frozen=True, kw_only=True)
class AggregatedWindows:
    """Declared windows; see `App.windows`. All times in milliseconds.

    ``gap_ms`` above 0: sessions; else windows of ``size_ms``, one of which begins every
    ``step_ms``. Raises `UsageError` for an invalid declaration.
    """

    name: str
    topic: Topic
    by: tuple[str, ...]
    fold: Mapping[str, Aggregate]
    size_ms: int = 0
    step_ms: int = 0
    gap_ms: int = 0
    grace_ms: int
    late: Late
    keys: Literal["record", "any"]
    on_window_close: OnClose | None = None
    ids: str = ""
    ttl_days: int | None = None
    description: str = ""
    longer_than: str = ""
    """the windows of which these are a roll-up"""
    types: Mapping[str, FieldType] = field(init=False)
    """of every field that is read"""
    table: ClickHouseTable = field(init=False)
    """of the rows"""

    def __post_init__(self) -> None:
        self._check_times()
        if self.name in ENGINE_TABLES:
            raise self._wrong("the engine has a table of that name")
        if not self.by or not self.fold:
            raise self._wrong("by needs a field of the key, and fold an aggregator")
        if self.late not in ("dead_letter", "drop"):
            raise self._wrong(f"late={self.late!r} is neither 'dead_letter' nor 'drop'")
        if self.on_window_close is not None and inspect.iscoroutinefunction(self.on_window_close):
            raise self._wrong(
                "on_window_close is `async def`, but closing is part of a commit and cannot wait. "
                "Write a plain function, and send with topic.send_soon()"
            )
        read = [*self.by, *(name for one in self.fold.values() for name in one.fields)]
        read += [self.ids] if self.ids else []
        try:
            object.__setattr__(self, "types", field_types(self.topic.type, dict.fromkeys(read)))
            for aggregate in self.fold.values():
                aggregate.check(self.types)
        except UsageError as error:
            raise self._wrong(str(error).rstrip(".")) from None
        self._check_key()
        if sum(one.state_bytes_max for one in self.fold.values()) > _STATE_BYTES_MAX:
            raise self._wrong(
                f"one window may need more than the {_STATE_BYTES_MAX} bytes that a changelog entry "
                f"holds: allow a greater error or capacity, or spread the aggregators over two"
            )
        object.__setattr__(self, "table", self._table())

    def _wrong(self, why: str) -> UsageError:
        return UsageError(f"windows {self.name!r} of {self.topic.name}: {why}.")

    def _check_times(self) -> None:
        for what, length_ms in (("size", self.size_ms), ("gap", self.gap_ms)):
            if length_ms and not 1000 <= length_ms <= _LONGEST_MS:
                raise self._wrong(f"{what} is {length_ms / 1000:g} s, but must be 1 s to 1 d")
        if bool(self.size_ms) == bool(self.gap_ms):
            raise self._wrong("give either size, or the gap of sessions")
        if self.gap_ms:
            return
        if not 0 < self.step_ms <= self.size_ms:
            raise self._wrong(
                f"step is {self.step_ms / 1000:g} s, but must be more than 0 and at most the size"
            )
        panes = self.size_ms // pane_ms(self._windows)
        if panes > _PANES_MAX:
            raise self._wrong(
                f"size and step have the greatest divisor {pane_ms(self._windows)} ms, so a window "
                f"has {panes} pieces, more than {_PANES_MAX}. Make the size a multiple of the step"
            )

    def _check_key(self) -> None:
        for name in self.by:
            kind = self.types[name]
            if kind.kind not in KEY_KINDS or kind.optional:
                raise self._wrong(
                    f"by names {name!r}, which is {kind}: a key is made of str, int and bool"
                )
        if self.keys != "any" and self.topic.key_field not in self.by:
            lies = self.topic.key_field or "a key that it does not name"
            raise self._wrong(
                f"records are partitioned by {lies}, which by={self.by} does not have, so one key "
                "would have a row in each of several partitions. Send the events to a topic under "
                "that key, or use keys='any' and add the rows up"
            )

        if self.ids and self.types[self.ids].kind not in (str, int):
            raise self._wrong(
                f"ids names {self.ids!r}, which is {self.types[self.ids]}, not str or int"
            )

    def _table(self) -> ClickHouseTable:
        own = {START: TIME, END: TIME, PART: "UInt32", CLOSED: "Bool"}
        columns = [(name, COLUMN_TYPES[self.types[name].kind]) for name in self.by]
        columns += own.items()
        for name, aggregate in self.fold.items():
            columns += aggregate.columns(name, self.types).items()
        names = [*(name for name, _ in columns), EPOCH, MOVED]
        if twice := {name for name in names if names.count(name) > 1}:
            raise self._wrong(f"its rows would have two columns called {min(twice)!r}")
        return ClickHouseTable(
            name=self.name,
            columns=dict(columns),
            order_by=(*self.by, START, PART),
            shard_by=self.by,
            in_epoch=True,
            day_of=START,
            ttl_days=self.ttl_days,
            description=self.description or f"Windows of {self.topic.name}: see app.windows.",
        )

    @property
    def _windows(self) -> Windows:
        return Windows(size_ms=self.size_ms, step_ms=self.step_ms, expires_ms=self.grace_ms)

    @property
    def spec(self) -> TableSpec[AggregateTable]:
        raw = self.name.encode()
        return TableSpec(self.name, b"A" + bytes([len(raw)]) + raw, self._build)

    def _build(self, context: TableContext) -> AggregateTable:
        return self.empty(context.settings.max_table_bytes)

    def empty(self, max_bytes: int = 1 << 62) -> AggregateTable:
        tenant_at = self.by.index(TENANT_FIELD) if TENANT_FIELD in self.by else None
        named = self.topic.tenant_field is not None
        rest = (
            self.fold,
            self.types,
            self.grace_ms,
            self.declaration(),
            max_bytes,
            tenant_at,
            named,
        )
        if self.gap_ms:
            return SessionWindows(self.name, self.gap_ms, *rest)
        return AggregateWindows(self.name, self._windows, *rest)

    def declaration(self) -> dict[str, Any]:
        """The properties that must not change while the state exists. The grace may: closed windows
        stay closed."""
        return {
            "size_ms": self.size_ms,
            "step_ms": self.step_ms,
            "gap_ms": self.gap_ms,
            "by": ", ".join(f"{name}: {self.types[name]}" for name in self.by),
            **{f"fold {name}": one.declaration(self.types) for name, one in self.fold.items()},
        }

    def row(
        self, part: int, key: Key, start_ms: int, end_ms: int, *, closed: bool
    ) -> dict[str, Any]:
        return {
            **dict(zip(self.by, key, strict=True)),
            START: start_ms,
            END: end_ms,
            PART: part,
            CLOSED: closed,
        }


_STATE_BYTES_MAX = MAX_ENTRY_BYTES - KEY_MAX_BYTES - 1024
