"""The form of a stored table, and digests of its rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from streams.connect.sinks.view_source import WINDOWS
from streams.core.rows.clickhouse_table import MOVED

KEY_BUCKETS: Final = 16
"""of a table without a day in its key"""


class StoredTable(msgspec.Struct, frozen=True, kw_only=True):
    """``name`` ends with ``_local``. ``columns``: name to type. The two keys are expressions, as
    `system.tables` shows them."""

    name: str
    columns: dict[str, str]
    sorting_key: str
    partition_key: str

    @property
    def bucket(self) -> str:
        """SQL of the bucket of a row. It depends on the row's key alone, so that the newer version
        of a row is in the bucket of the older one."""
        if self.by_day:
            return "toYYYYMMDD(w)"
        return f"cityHash64({self.sorting_key}) % {KEY_BUCKETS}"

    @property
    def by_day(self) -> bool:
        """Whether it has windows: also those of `app.windows`."""
        kinds = self.columns.get("w", ""), self.columns.get(MOVED, "")
        return self.rolls_up or (kinds[0].startswith("DateTime64(3") and kinds[1] == "UInt32")

    @property
    def rolls_up(self) -> bool:
        """Whether it has minute windows, hours or days, whose ``n`` are events."""
        return self.name.removesuffix("_local") in WINDOWS


class RowDigest(msgspec.Struct, frozen=True, kw_only=True):
    """Of the rows of one bucket that FINAL shows. Of two states of a table, the later one has no
    smaller ``rows`` and ``versions``, unless rows expired."""

    rows: int
    events: int
    """in windows; 0 of other tables"""
    versions: str
    """the sum of ``ver``, a decimal: it may exceed 64 bits"""
    hash: str
    """exclusive or of a hash of each row, a decimal"""


NO_ROWS: Final = RowDigest(rows=0, events=0, versions="0", hash="0")

Digests = Mapping[int, RowDigest]
"""by bucket; buckets without rows are absent"""
