"""Window rows that ClickHouse refused: their events are in the DLQ instead of in a table.

A row may have been refused more than once, with a rising version; the newest one counts, as it
would in the table. One that a replay has inserted since is a row like any other.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet

import msgspec

from streams.rows import epoch_of

_MINUTES = "m1"


class RefusedRow(msgspec.Struct, frozen=True, kw_only=True):
    """What an audit needs of the row in a dead letter of stage ``sink``."""

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
        """What the table would replace rows by."""
        return self.tenant, self.model, self.metric, self.w, self.part, self.inc


_decode = msgspec.json.Decoder(RefusedRow).decode


class RefusedRows:
    """The minute rows in the dead letters of one topic."""

    def __init__(self) -> None:
        self._newest: dict[tuple[object, ...], tuple[str, RefusedRow]] = {}

    def add(self, name: str, value: bytes | None) -> None:
        """The value of the dead letter ``name``; what is no minute row counts for nothing."""
        try:
            row = _decode(value or b"")
        except (ValueError, RecursionError):
            return
        known = self._newest.get(row.place)
        if row.table == _MINUTES and (known is None or known[1].ver < row.ver):
            self._newest[row.place] = name, row

    def forget(self, names: AbstractSet[str]) -> None:
        """The rows of these dead letters were inserted after all."""
        kept = {place: found for place, found in self._newest.items() if found[0] not in names}
        self._newest = kept

    def of(self, partition: int) -> Iterator[RefusedRow]:
        """The rows of one partition."""
        return (row for _, row in self._newest.values() if row.part == partition)

    def events(self) -> dict[tuple[int, int], int]:
        """Events by (partition, epoch)."""
        totals: dict[tuple[int, int], int] = {}
        for _, row in self._newest.values():
            key = row.part, epoch_of(row.inc)
            totals[key] = totals.get(key, 0) + row.n
        return totals
