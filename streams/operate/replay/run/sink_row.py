"""Restores a row that a shard or a sink refused from its dead letter.

The row has its key and version, and a sink gets a batch with a repeatable name, so repeating the
insert changes nothing. It precedes the transaction that journals it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np

from streams.core.errors import RollUpExpired, ShardUnavailable
from streams.core.rows.built_in_tables import FactRows, ShardSet, WindowRows
from streams.core.rows.clickhouse_table import MOVED, ClickHouseTable
from streams.core.rows.dated_map import DatedMap, shard_key_text
from streams.core.rows.moved_home import brought
from streams.core.rows.moved_mark import token, version_of_move
from streams.core.rows.row_json import FIRST_DAYS, read_row
from streams.core.rows.row_sink import REPLAYED_PART, DeclaredSink, RowBatch
from streams.core.rows.targets import RowTarget, Targets
from streams.engine.runtime.effects.effects import rows_by_shard
from streams.operate.dlq.dead_letter import DeadLetterRecord

_HOUR_S, _DAY_S = 3600, 86_400
WINDOWS = ("m1", "h1", "d1")


class RefusedWindowRow(msgspec.Struct, frozen=True, kw_only=True):
    """The JSON of a dead letter of stage ``sink`` (runtime/effects/refused_row.py); see
    `WindowRows`."""

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
    shard: int | None = None
    """where the partition's shard maps place the window; None, from a version without shard maps:
    where the first map does"""
    moved: int = 0
    """the move that placed it (`streams.core.rows.moved_mark`)"""


class TargetRow(NamedTuple):
    """``row`` as `Targets.fitted` returns it, with the columns that the commit added. ``first_days``: of
    the later shard maps of its partition."""

    target: RowTarget
    row: dict[str, Any]
    first_days: tuple[int, ...] = ()


class _Named(msgspec.Struct):
    table: str
    first_days: tuple[int, ...] = msgspec.field(default=(), name=FIRST_DAYS)


_decode = msgspec.json.Decoder(RefusedWindowRow, strict=False).decode
_decode_name = msgspec.json.Decoder(_Named).decode


def readable_row(
    targets: Targets, letter: DeadLetterRecord, value: bytes | None
) -> RefusedWindowRow | TargetRow:
    """Raises `ValueError` for anything but a row."""
    raw = value or b""
    named = _decode_name(raw)
    name = named.table
    if (table := targets.tables.get(name)) is not None:
        needed = (*table.shard_by, *filter(None, [table.day_of]), "ver")
        return TargetRow(table, _whole(read_row(table.types, raw), needed), named.first_days)
    if (sink := targets.sinks.get(name)) is not None:
        if letter.source_tp is None:
            raise ValueError("its dead letter does not say which partition owed it")
        return TargetRow(sink, _whole(read_row(sink.types, raw), sink.types))
    if name not in WINDOWS:
        raise ValueError(f"the app declares no ClickHouse table or sink called {name!r}")
    row = _decode(raw)
    if len(row.sk_k) != len(row.sk_n) or sum(row.sk_n) != row.n:
        raise ValueError(f"its sketch holds {sum(row.sk_n)} of {row.n} values")
    return row


def _whole(row: dict[str, Any], needed: Iterable[str]) -> dict[str, Any]:
    if missing := [name for name in needed if name not in row]:
        raise ValueError(f"it has no {missing[0]}")
    return row


def batch_of(sink: DeclaredSink, letter: DeadLetterRecord, row: Mapping[str, Any]) -> RowBatch:
    """A batch of one row, named by the commit that added it and the dead letter's id."""
    source = letter.source_tp
    assert source is not None, "readable_row looked"
    number = int.from_bytes(sha256(letter.id.encode()).digest()[:7], "big")
    columns = {name: [row[name]] for name in sink.types}
    return RowBatch(sink.name, letter.group, source, row["ver"], REPLAYED_PART + number, columns)


async def insert_window(shards: ShardSet, row: RefusedWindowRow) -> None:
    """Store the row; for a minute, recompute the hour and the day. Raises as `ShardSet.insert` and
    `ShardSet.roll_up`."""
    shard, moved = await _home(shards, row)
    if not 0 <= shard < shards.count:
        raise ShardUnavailable(
            f"the row belongs on shard {shard}, and no server names more than {shards.count} yet."
        )
    await shards.insert(shard, [_rows(row, shard, moved)])
    if await _home(shards, row) != (shard, moved):
        raise ShardUnavailable(
            f"{_day_text(row.w // _DAY_S)} began to move while a row of it was returned."
        )
    if row.table == "m1":
        # Minutes of the hour or day may have expired: then those stay as they are.
        with suppress(RollUpExpired):
            await shards.roll_up(shard, "h1", row.w // _HOUR_S * _HOUR_S)
            await shards.roll_up(shard, "d1", row.w // _DAY_S * _DAY_S)


async def _home(shards: ShardSet, row: RefusedWindowRow) -> tuple[int, int]:
    """The shard of the row now, and its ``moved``: those that it had if it had been stored before its
    day moved, each time. Raises `ShardUnavailable` while the day moves, as a copy of it may be made
    without the row, and while no server says if it does."""
    await shards.learn(certain=True)
    day, names = row.w // _DAY_S, ([row.tenant], [row.model], [row.metric])
    first = row.shard
    if first is None:
        (first,) = shards.maps[0].shard_of(*names).tolist()
    _refuse_moving(shards.maps[version_of_move(row.moved) :], day)
    columns = (np.array([value], np.int64) for value in (day, first, row.moved))
    (shard,), (moved,) = brought(shards.maps, names, *columns)
    return int(shard), int(moved)


def _refuse_moving(maps: Sequence[DatedMap], day: int) -> None:
    if any(one.moves(day) and day in one.unfinished for one in maps):
        raise ShardUnavailable(
            f"{_day_text(day)} moves to other shards (`dia shards list`): its rows are returned "
            "afterwards."
        )


def _day_text(day: int) -> str:
    return f"the UTC day {day} since 1970"


async def insert_fact(
    shards: ShardSet,
    table: ClickHouseTable,
    row: Mapping[str, Any],
    first_days: Sequence[int] = (),
) -> None:
    """``first_days`` as in `TargetRow`. Raises as `ShardSet.insert`, and `ShardUnavailable` while no
    server says these maps, or the day of the row moves."""
    columns = {name: [cell] for name, cell in row.items()}
    if not table.day_of:
        for rows in rows_by_shard(table, columns, shards.shard_of_key):
            await shards.insert(rows.shard, [rows])
        return
    home = await _key_home(shards, table, row, first_days)
    shard, moved = home
    await shards.insert(shard, [FactRows(table, shard, {**columns, MOVED: [moved]})])
    if await _key_home(shards, table, row, first_days) != home:
        day = row[table.day_of] // (1000 * _DAY_S)
        raise ShardUnavailable(f"{_day_text(day)} began to move while a row of it was returned.")


async def _key_home(
    shards: ShardSet, table: ClickHouseTable, row: Mapping[str, Any], first_days: Sequence[int]
) -> tuple[int, int]:
    """As `_home`, of a row of `app.windows`."""
    await shards.learn(certain=True)
    maps = shards.maps
    endless = [one for one in maps if one.last_day is None]
    if len(endless) <= len(first_days):
        raise ShardUnavailable(
            f"the row is of a partition with {1 + len(first_days)} shard maps, and no server names more than "
            f"{len(endless)} yet."
        )
    day, placed_by = row[table.day_of] // (1000 * _DAY_S), version_of_move(row.get(MOVED, 0))
    key = shard_key_text(row[name] for name in table.shard_by)
    if placed_by > len(maps):
        raise ShardUnavailable(f"map {placed_by} placed the row, and no server names it yet.")
    _refuse_moving(maps[placed_by:], day)
    number = bisect_right(first_days, day)
    shard = (maps[placed_by - 1] if placed_by else endless[number]).shard_of_key(key)
    moved = row.get(MOVED, 0)
    for version, one in enumerate(maps[placed_by:], placed_by + 1):
        target = one.shard_of_key(key)
        if one.moves(day) and day not in one.returned and target != shard:
            shard, moved = target, token(version, shard)
    return shard, moved


def _rows(row: RefusedWindowRow, shard: int, moved: int) -> WindowRows:
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
        moved=moved,
    )
