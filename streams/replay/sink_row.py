"""A row that ClickHouse refused, of a window or of facts, inserted after all.

The dead letter holds the row whole, with its key and version: inserting it again, or after the row
of a newer version, changes nothing. So the insert needs no transaction; it goes before the one that
records it. Hours and days of a window row are recomputed, as for any window that closed.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Literal, TypeAlias

import msgspec
import numpy as np

from streams.clickhouse_table import ClickHouseTable
from streams.errors import RollUpExpired
from streams.rows import ShardSet, WindowRows
from streams.runtime.effects import rows_by_shard

_HOUR_S, _DAY_S = 3600, 86_400


class WindowRow(msgspec.Struct, frozen=True, kw_only=True):
    """The JSON of a dead letter of stage ``sink`` (runtime/refused_row.py); see `WindowRows`."""

    table: Literal["m1", "h1", "d1"]
    tenant: str
    model: str
    metric: str
    part: int
    w: int
    inc: int
    n: int
    s1: float
    s2: float
    mean: float
    m2: float
    lo: float
    hi: float
    lv: float
    lt: int
    sk_k: list[int]
    sk_n: list[int]
    ver: int


FactRow: TypeAlias = dict[str, Any]
"""The JSON of a row of facts: ``table``, and every column that the engine filled."""


class _Any(msgspec.Struct):
    table: str


_decode = msgspec.json.Decoder(WindowRow).decode
_decode_any = msgspec.json.Decoder(_Any).decode
_decode_fact = msgspec.json.Decoder(FactRow).decode


def readable_row(tables: Mapping[str, ClickHouseTable], value: bytes | None) -> WindowRow | FactRow:
    """The row of a dead letter. ValueError for anything else."""
    declared = tables.get(_decode_any(value or b"").table)
    if declared is not None:
        fact = _decode_fact(value or b"")
        if missing := [name for name in (*declared.shard_by, "ver") if name not in fact]:
            raise ValueError(f"it has no {missing[0]}")
        return fact
    row = _decode(value or b"")
    if len(row.sk_k) != len(row.sk_n) or sum(row.sk_n) != row.n:
        raise ValueError(f"its sketch holds {sum(row.sk_n)} of {row.n} values")
    return row


async def insert_row(shards: ShardSet, value: bytes | None) -> None:
    """Store the row; of a minute, recompute the hour and the day.

    Raises what `ShardSet.insert` and `ShardSet.roll_up` raise, `RowsRefused` among them.
    """
    row = readable_row(shards.tables, value)
    if not isinstance(row, WindowRow):
        columns = {name: [cell] for name, cell in row.items() if name != "table"}
        declared = shards.tables[row["table"]]
        for rows in rows_by_shard(declared, columns, shards.shard_of_key):
            await shards.insert(rows.shard, [rows])
        return
    shard = int(shards.shard_of([row.tenant], [row.model], [row.metric])[0])
    await shards.insert(shard, [_rows(row, shard)])
    if row.table == "m1":
        # Minutes that count may have expired: then hour and day stay as they are.
        with suppress(RollUpExpired):
            await shards.roll_up(shard, "h1", row.w // _HOUR_S * _HOUR_S)
            await shards.roll_up(shard, "d1", row.w // _DAY_S * _DAY_S)


def _rows(row: WindowRow, shard: int) -> WindowRows:
    def column(value: Any, kind: Any) -> Any:
        return np.array([value], kind)

    zero = np.zeros(1, np.int32)
    return WindowRows(
        table=row.table,
        shard=shard,
        part=row.part,
        tenants=[row.tenant],
        models=[row.model],
        metrics=[row.metric],
        tenant_code=zero,
        model_code=zero,
        metric_code=zero,
        w=column(row.w, np.uint32),
        inc=column(row.inc, np.uint64),
        n=column(row.n, np.uint64),
        s1=column(row.s1, np.float64),
        s2=column(row.s2, np.float64),
        mean=column(row.mean, np.float64),
        m2=column(row.m2, np.float64),
        lo=column(row.lo, np.float64),
        hi=column(row.hi, np.float64),
        lv=column(row.lv, np.float64),
        lt=column(row.lt, np.int64),
        sk_off=np.array([0, len(row.sk_k)], np.int32),
        sk_k=np.array(row.sk_k, np.int16),
        sk_n=np.array(row.sk_n, np.uint32),
        ver=column(row.ver, np.uint64),
    )
