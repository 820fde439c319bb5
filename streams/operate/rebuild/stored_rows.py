"""The rows of minute windows that the shards hold, and what differs from them in hours and days."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from streams.connect.sinks.replica_group import ReplicaGroup
from streams.connect.sinks.rollup import DAY_S, SOURCE, WIDTH_S
from streams.core.rows.built_in_tables import OFFSET_BITS, Bucket
from streams.core.settings import Settings
from streams.operate.shard_answers import EveryShard

_ROWS = """
SELECT toString(tenant), toString(model), toString(metric), toUnixTimestamp(w), inc, ver, n, s1,
    mean, m2, lo, hi, lv, toUnixTimestamp64Milli(lt), length(sk_k),
    arraySum((code, count) -> toInt64(code) * toInt64(count), sk_k, sk_n), arraySum(sk_n), moved
FROM m1_local FINAL
WHERE part = {part:UInt32} AND w >= toDateTime({from:UInt32}, 'UTC')
    AND w < toDateTime({to:UInt32}, 'UTC') AND ({tenant:String} = '' OR tenant = {tenant:String}) /* counted */
"""
_NUMBERS: Final[Mapping[str, type[np.number[Any]]]] = {
    "w": np.int64,
    **dict.fromkeys(("inc", "ver"), np.uint64),
    "n": np.int64,
    **dict.fromkeys(("s1", "mean", "m2", "lo", "hi", "lv"), np.float64),
    **dict.fromkeys(("lt", "codes", "weight", "sketched", "moved"), np.int64),
}
"""the numbers of `_ROWS`, in its order"""
_GENERATION = """
SELECT max(bitShiftRight(ver, {bits:UInt8})) FROM
(
    SELECT ver FROM m1_local WHERE toDate(w) BETWEEN {first:Date} AND {last:Date}
    UNION ALL
    SELECT ver FROM h1_local WHERE toDate(w) BETWEEN {first:Date} AND {last:Date}
    UNION ALL
    SELECT ver FROM d1_local WHERE toDate(w) BETWEEN {first:Date} AND {last:Date}
)
"""
_OWN = """
SELECT
    (SELECT count() FROM h1_local FINAL WHERE inc != 0 AND w >= toDateTime({from_h1:UInt32}, 'UTC')
        AND w < toDateTime({to:UInt32}, 'UTC'))
    + (SELECT count() FROM d1_local FINAL WHERE inc != 0 AND w >= toDateTime({from_d1:UInt32}, 'UTC')
        AND w < toDateTime({to:UInt32}, 'UTC'))
"""
_STALE = """
SELECT toString(tenant), toString(model), toString(metric), toUnixTimestamp(b),
    counted = 0 AND rows = 0, n_stored < counted, moved
FROM
(
    SELECT tenant, model, metric, moved, {start}(w) AS b, sum(n) AS counted, sum(s1) AS summed,
        sum(s2) AS squares, count() AS rows, sqrt(sum(n) * sum(s2)) AS magnitude, min(lo) AS low,
        max(hi) AS high, argMax(lv, (lt, inc)) AS last, max(lt) AS latest,
        sum(arraySum(sk_n)) AS sketched, max(bitShiftRight(ver, {bits})) AS generation,
        sum(arraySum((code, count) -> toInt64(code) * toInt64(count), sk_k, sk_n)) AS weight
    FROM m1_local FINAL
    WHERE w >= toDateTime({{from:UInt32}}, 'UTC') AND w < toDateTime({{to:UInt32}}, 'UTC') /* counted */
    GROUP BY tenant, model, metric, moved, b
) AS minutes
FULL JOIN
(
    SELECT tenant, model, metric, moved, toDateTime(w, 'UTC') AS b, n AS n_stored, s1 AS s1_stored,
        s2 AS s2_stored, lo AS lo_stored, hi AS hi_stored, lv AS lv_stored, lt AS lt_stored,
        arraySum(sk_n) AS sketched_stored, bitShiftRight(ver, {bits}) AS generation_stored,
        arraySum((code, count) -> toInt64(code) * toInt64(count), sk_k, sk_n) AS weight_stored
    FROM {table}_local FINAL
    WHERE inc = 0 AND w >= toDateTime({{from:UInt32}}, 'UTC')
        AND w < toDateTime({{to:UInt32}}, 'UTC') /* counted */
) AS stored USING (tenant, model, metric, moved, b)
WHERE ({{tenant:String}} = '' OR tenant = {{tenant:String}})
    AND (counted != n_stored OR generation > generation_stored
        OR NOT (abs(summed - s1_stored) <= 1e-9 * magnitude)
        OR NOT (abs(squares - s2_stored) <= 1e-9 * squares)
        OR counted > 0 AND (low != lo_stored OR high != hi_stored OR last != lv_stored
            OR latest != lt_stored OR sketched != sketched_stored OR weight != weight_stored))
"""
_EXCESS = """
SELECT toString(tenant), toString(model), toString(metric), toUnixTimestamp(b), n_stored, counted
FROM
(
    SELECT tenant, model, metric, moved, toDateTime(w, 'UTC') AS b, n AS n_stored
    FROM {table}_local FINAL
    WHERE inc = 0 AND w >= toDateTime({{from:UInt32}}, 'UTC') AND w < toDateTime({{to:UInt32}}, 'UTC')
        AND ({{tenant:String}} = '' OR tenant = {{tenant:String}}) /* counted */
) AS stored
LEFT JOIN
(
    SELECT tenant, model, metric, moved, {start}(w) AS b, sum(n) AS counted
    FROM {source}_local FINAL
    WHERE {recomputed}w >= toDateTime({{from:UInt32}}, 'UTC')
        AND w < toDateTime({{to:UInt32}}, 'UTC') /* counted */
    GROUP BY tenant, model, metric, moved, b
) AS parts USING (tenant, model, metric, moved, b)
WHERE n_stored > counted
"""
_STARTS: Final[Mapping[Bucket, str]] = {"h1": "toStartOfHour", "d1": "toStartOfDay"}


class StaleBucket(NamedTuple):
    """An hour or day of a series that is not the sum of its minutes. ``orphan``: it has none.
    ``behind``: it counts less than they do. ``shard`` has it; ``moved`` is that of its rows."""

    tenant: str
    model: str
    metric: str
    table: Bucket
    start_s: int
    orphan: bool
    behind: bool
    shard: int = 0
    moved: int = 0

    def is_owed(self, over_s: int) -> bool:
        """Whether an owner recomputes it soon: it lacks minutes, and they go on after ``over_s``."""
        return self.behind and self.start_s + WIDTH_S[self.table] > over_s


class ExcessBucket(NamedTuple):
    """An hour that counts more than its minutes, or a day that counts more than its hours: rows of
    these are lost. ``parts_n``: what they count."""

    tenant: str
    model: str
    metric: str
    table: Bucket
    start_s: int
    n: int
    parts_n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRows:
    """Parallel columns. Of a sketch: the number of codes, the sum of counts, and the sum of codes
    times counts."""

    tenants: Sequence[str]
    models: Sequence[str]
    metrics: Sequence[str]
    w: NDArray[np.int64]
    inc: NDArray[np.uint64]
    ver: NDArray[np.uint64]
    n: NDArray[np.int64]
    s1: NDArray[np.float64]
    mean: NDArray[np.float64]
    m2: NDArray[np.float64]
    lo: NDArray[np.float64]
    hi: NDArray[np.float64]
    lv: NDArray[np.float64]
    lt: NDArray[np.int64]
    codes: NDArray[np.int64]
    weight: NDArray[np.int64]
    sketched: NDArray[np.int64]
    moved: NDArray[np.int64]
    shard: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.inc)

    @classmethod
    def of(cls, rows: Sequence[Sequence[Any]], shards: Sequence[int]) -> StoredRows:
        """``rows`` in the order of the statement; ``shards``: of each."""
        columns = [*zip(*rows, strict=True)] if rows else [()] * (3 + len(_NUMBERS))
        tenants, models, metrics, *numbers = columns
        arrays: dict[str, Any] = {
            name: np.array(column, kind)
            for (name, kind), column in zip(_NUMBERS.items(), numbers, strict=True)
        }
        return cls(
            tenants=[*map(str, tenants)],
            models=[*map(str, models)],
            metrics=[*map(str, metrics)],
            shard=np.array(shards, np.int64),
            **arrays,
        )


class WindowStore(Protocol):
    """Reads the shards. ``tenant`` "": of all. Ranges are [``from_s``, ``to_s``), seconds.

    Raises `DependencyUnreachable` unless each shard has a replica with all acknowledged rows."""

    async def generation(self, from_s: int, to_s: int) -> int:
        """The highest epoch or generation of a row of these days, in any table of windows."""
        ...

    async def own_rows(self, from_s: int, to_s: int) -> int:
        """Rows of windows that were too old for m1 when they opened."""
        ...

    async def rows(self, part: int, from_s: int, to_s: int, tenant: str) -> StoredRows: ...

    async def stale(
        self, table: Bucket, from_s: int, to_s: int, tenant: str
    ) -> list[StaleBucket]: ...

    async def excess(
        self, table: Bucket, from_s: int, to_s: int, tenant: str
    ) -> list[ExcessBucket]:
        """Of the hours or days that the range touches. Rows that owners write meanwhile make none."""
        ...


class ClickHouseWindows:
    """`WindowStore` of real shards; ``instead`` as in `EveryShard`."""

    def __init__(
        self, settings: Settings, instead: Mapping[int, ReplicaGroup] | None = None
    ) -> None:
        self._shards = EveryShard(settings, "rebuild", stale=False, instead=instead)

    def close(self) -> None:
        self._shards.close()

    async def generation(self, from_s: int, to_s: int) -> int:
        days = {"first": _day(from_s), "last": _day(to_s - 1), "bits": OFFSET_BITS}
        return max(int(rows[0][0]) for rows in await self._shards.ask(_GENERATION, days))

    async def own_rows(self, from_s: int, to_s: int) -> int:
        chosen = {"from_h1": _start("h1", from_s), "from_d1": _start("d1", from_s), "to": to_s}
        return sum(int(rows[0][0]) for rows in await self._shards.ask(_OWN, chosen))

    async def rows(self, part: int, from_s: int, to_s: int, tenant: str) -> StoredRows:
        chosen = {"part": part, "from": from_s, "to": to_s, "tenant": tenant}
        answers = await self._shards.ask(_ROWS, chosen)
        shards = [shard for shard, rows in enumerate(answers) for _ in rows]
        return StoredRows.of([row for rows in answers for row in rows], shards)

    async def stale(self, table: Bucket, from_s: int, to_s: int, tenant: str) -> list[StaleBucket]:
        sql = _STALE.format(table=table, start=_STARTS[table], bits=OFFSET_BITS)
        bounds = _bounds(table, from_s, to_s, tenant)
        return [
            StaleBucket(
                *_names(row), table, int(row[3]), bool(row[4]), bool(row[5]), shard, int(row[6])
            )
            for shard, rows in enumerate(await self._shards.ask(sql, bounds))
            for row in rows
        ]

    async def excess(
        self, table: Bucket, from_s: int, to_s: int, tenant: str
    ) -> list[ExcessBucket]:
        first = await self._excess(table, from_s, to_s, tenant)
        if not first:
            return []
        # One look may read the parts before an owner adds to them, and the bucket after it. What a
        # bucket counted at the first look, and its parts do not count at a later one, is lost.
        again = {one[:5]: one.parts_n for one in await self._excess(table, from_s, to_s, tenant)}
        return [one for one in first if one.n > again.get(one[:5], one.n)]

    async def _excess(
        self, table: Bucket, from_s: int, to_s: int, tenant: str
    ) -> list[ExcessBucket]:
        sql = _EXCESS.format(
            table=table,
            start=_STARTS[table],
            source=SOURCE[table],
            recomputed="inc = 0 AND " if table == "d1" else "",
        )
        return [
            ExcessBucket(*_names(row), table, int(row[3]), int(row[4]), int(row[5]))
            for rows in await self._shards.ask(sql, _bounds(table, from_s, to_s, tenant))
            for row in rows
        ]


def _names(row: Sequence[Any]) -> tuple[str, str, str]:
    return str(row[0]), str(row[1]), str(row[2])


def _bounds(table: Bucket, from_s: int, to_s: int, tenant: str) -> dict[str, Any]:
    """Of whole hours or days."""
    return {"from": _start(table, from_s), "to": -_start(table, -to_s), "tenant": tenant}


def _start(table: Bucket, moment_s: int) -> int:
    return moment_s // WIDTH_S[table] * WIDTH_S[table]


def _day(moment_s: int) -> str:
    return str(np.datetime64(moment_s // DAY_S, "D"))
