"""Window rows that ClickHouse refused, from the DLQ.

The newest version of a row counts. A row that a replay has inserted is stored."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from typing import Any

import msgspec

from streams.core.rows.built_in_tables import epoch_of
from streams.core.rows.clickhouse_table import ClickHouseTable
from streams.core.rows.row_json import read_row

_MINUTES = "m1"


class RefusedRow(msgspec.Struct, frozen=True, kw_only=True):
    """The audited fields of a dead letter of stage ``sink``."""

    table: str
    tenant: str
    model: str
    metric: str
    part: int
    w: int
    inc: int
    ver: int
    n: int
    s1: float
    lo: float
    hi: float
    sk_n: list[int]

    @property
    def place(self) -> tuple[str, str, str, int, int, int]:
        """The replacement key of the table."""
        return self.tenant, self.model, self.metric, self.w, self.part, self.inc


class _AnyRow(msgspec.Struct, frozen=True):
    table: str


_decode = msgspec.json.Decoder(RefusedRow).decode
_decode_any = msgspec.json.Decoder(_AnyRow).decode


class RefusedRows:
    """Refused rows of one topic: of m1, and of ``tables``."""

    def __init__(self, tables: AbstractSet[str] = frozenset()) -> None:
        self._newest: dict[tuple[object, ...], tuple[str, RefusedRow]] = {}
        self._tables = tables
        self._others: dict[str, tuple[str, bytes]] = {}

    def add(self, name: str, value: bytes | None) -> None:
        """Values that are no window rows are ignored."""
        try:
            table = _decode_any(value or b"").table
            if table in self._tables:
                self._others[name] = table, value or b""
                return
            row = _decode(value or b"")
        except (ValueError, RecursionError):
            return
        known = self._newest.get(row.place)
        if row.table == _MINUTES and (known is None or known[1].ver < row.ver):
            self._newest[row.place] = name, row

    def forget(self, names: AbstractSet[str]) -> None:
        kept = {place: found for place, found in self._newest.items() if found[0] not in names}
        self._newest = kept
        self._others = {name: one for name, one in self._others.items() if name not in names}

    def rows(self, table: ClickHouseTable) -> Iterator[dict[str, Any]]:
        """All versions; skips rows that the current declaration cannot read."""
        for name, value in self._others.values():
            if name == table.name:
                try:
                    yield read_row(table.types, value)
                except (ValueError, RecursionError):
                    continue

    def of(self, partition: int) -> Iterator[RefusedRow]:
        return (row for _, row in self._newest.values() if row.part == partition)

    def events(self) -> dict[tuple[int, int], int]:
        totals: dict[tuple[int, int], int] = {}
        for _, row in self._newest.values():
            key = row.part, epoch_of(row.inc)
            totals[key] = totals.get(key, 0) + row.n
        return totals
