"""Queries for the audit, sent to every shard, to its replicas in turn."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from streams.connect.sinks.moved_rows import by_key
from streams.connect.sinks.replica_group import ReplicaGroup
from streams.core.rows.built_in_tables import OFFSET_BITS, Bucket, offset_of
from streams.core.settings import Settings
from streams.engine.streams.window_aggregates import AggregatedWindows
from streams.operate.audit.minute_recount import WindowKey
from streams.operate.audit.snapshot import LedgerRow, ShedRange, StaleRollUp
from streams.operate.audit.window_rows import AppWindowKey, ShownRow, aggregate_columns
from streams.operate.audit.windows import StoredWindow
from streams.operate.shard_answers import EveryShard

_LEDGER = """
SELECT part, epoch, next_offset, read, applied, duplicates, dead, shed, gaps, dead_by_code
FROM ledger_local FINAL WHERE grp = {group:String} AND topic = {topic:String}
"""
_SHED = """
SELECT part, epoch, from_offset, to_offset, order_id, actor, reason, toUnixTimestamp64Milli(at)
FROM shed_ranges_local FINAL WHERE grp = {group:String} AND topic = {topic:String}
"""
_DEAD = "SELECT id, error_code, disposition = 'replayed' FROM dead_letters_local FINAL WHERE topic = {topic:String}"
_EVENTS = """
SELECT part, bitShiftRight(inc, {bits:UInt8}) AS epoch, sum(n)
FROM
(
    SELECT part, inc, n FROM m1_local FINAL WHERE w >= toDateTime({kept:UInt32}, 'UTC') /* counted */
    UNION ALL
    SELECT part, inc, n FROM h1_local FINAL
    WHERE inc != 0 AND w >= toDateTime({kept:UInt32}, 'UTC') /* counted */
)
GROUP BY part, epoch
"""
_EXPIRED = """
SELECT sum(n) FROM d1_local FINAL WHERE w < toDateTime({kept:UInt32}, 'UTC') /* counted */
"""
"""Windows older than m1 have rows in h1 and d1: counted in h1 while it has those days, then in
d1."""

_STALE = """
SELECT tenant, model, metric, toUnixTimestamp(b), counted, summed, n_stored, s1_stored
FROM
(
    SELECT tenant, model, metric, moved, {start}(w) AS b, sum(n) AS counted, sum(s1) AS summed,
        sqrt(sum(n) * sum(s2)) AS magnitude
    FROM m1_local FINAL
    WHERE w >= toDateTime({{kept:UInt32}}, 'UTC') AND w < toDateTime({{over:UInt32}}, 'UTC') /* counted */
    GROUP BY tenant, model, metric, moved, b
) AS minutes
FULL JOIN
(
    SELECT tenant, model, metric, moved, toDateTime(w, 'UTC') AS b, n AS n_stored, s1 AS s1_stored
    FROM {table}_local FINAL
    WHERE inc = 0 AND w >= toDateTime({{kept:UInt32}}, 'UTC')
        AND w < toDateTime({{over:UInt32}}, 'UTC') /* counted */
) AS stored USING (tenant, model, metric, moved, b)
WHERE counted != n_stored OR NOT (abs(summed - s1_stored) <= 1e-9 * magnitude)
ORDER BY b LIMIT 100
"""
"""Σ|v| is at most sqrt(n · Σv²), so the tolerance of a sum needs no column."""

_WINDOWS = """
SELECT toString(tenant), toString(model), toString(metric), toUnixTimestamp(w) AS start,
    bitShiftRight(inc, {bits:UInt8}) AS epoch, sum(n), sum(s1), min(lo), max(hi), sum(arraySum(sk_n)),
    groupArray((inc, ver, n))
FROM m1_local FINAL
WHERE n > 0 AND part = {part:UInt32} AND w >= toDateTime({from:UInt32}, 'UTC')
    AND w < toDateTime({to:UInt32}, 'UTC') /* counted */
GROUP BY tenant, model, metric, w, epoch
"""

_APP_WINDOWS = """
SELECT {columns}, toUnixTimestamp64Milli(w), toUnixTimestamp64Milli(w_end), closed, epoch
FROM {table}_local FINAL
WHERE part = {{part:UInt32}} AND w >= fromUnixTimestamp64Milli({{from:Int64}}, 'UTC')
    AND w < fromUnixTimestamp64Milli({{to:Int64}}, 'UTC') /* counted */
"""

_WIDTHS: tuple[tuple[Bucket, str, int], ...] = (
    ("h1", "toStartOfHour", 3600),
    ("d1", "toStartOfDay", 86_400),
)
_DAY_S = 86_400
_LAST_MS = 10_413_791_999_999
"""The largest DateTime64(3)."""


class Shards:
    """Every query raises `DependencyUnreachable` unless each shard has a replica that is up to
    date: an audit of a part would report the rest as lost. ``instead`` as in `EveryShard`."""

    def __init__(
        self, settings: Settings, instead: Mapping[int, ReplicaGroup] | None = None
    ) -> None:
        self._shards = EveryShard(settings, "audit", stale=False, instead=instead)

    def close(self) -> None:
        self._shards.close()

    async def ledger(self, group: str, topic: str) -> list[LedgerRow]:
        answers = await self._shards.ask(_LEDGER, {"group": group, "topic": topic})
        rows = [_ledger_row(row) for answer in answers for row in answer]
        return sorted(rows, key=lambda row: (row.partition, row.epoch))

    async def shed(self, group: str, topic: str) -> list[ShedRange]:
        answers = await self._shards.ask(_SHED, {"group": group, "topic": topic})
        ranges = [
            ShedRange(
                partition=int(part),
                epoch=int(epoch),
                first=int(first),
                until=int(until),
                order=str(order),
                actor=str(actor),
                reason=str(reason),
                at_ms=int(at_ms),
            )
            for answer in answers
            for part, epoch, first, until, order, actor, reason, at_ms in answer
        ]
        return sorted(ranges, key=lambda one: (one.partition, one.epoch, one.first))

    async def dead_letters(self, topic: str) -> tuple[dict[str, str], set[str]]:
        """Error code by id, and the ids that a replay has resolved."""
        answers = await self._shards.ask(_DEAD, {"topic": topic})
        found = [row for rows in answers for row in rows]
        replayed = {str(name) for name, _, done in found if done}
        return {str(name): str(code) for name, code, _ in found}, replayed

    async def events(self, kept_s: int) -> dict[tuple[int, int], int]:
        """Events in windows from ``kept_s`` on, by (partition, epoch)."""
        totals: defaultdict[tuple[int, int], int] = defaultdict(int)
        for rows in await self._shards.ask(_EVENTS, {"kept": kept_s, "bits": OFFSET_BITS}):
            for part, epoch, n in rows:
                totals[int(part), int(epoch)] += int(n)
        return dict(totals)

    async def expired_events(self, kept_s: int) -> int:
        answers = await self._shards.ask(_EXPIRED, {"kept": kept_s})
        return sum(int(rows[0][0]) for rows in answers)

    async def stale(self, kept_s: int, over_s: int) -> list[StaleRollUp]:
        """Hours and days in [kept_s, over_s) that differ from their minutes."""
        found: list[StaleRollUp] = []
        for table, start, width_s in _WIDTHS:
            sql = _STALE.format(table=table, start=start)
            bounds = {"kept": -(-kept_s // _DAY_S) * _DAY_S, "over": over_s // width_s * width_s}
            for rows in await self._shards.ask(sql, bounds):
                found += [_stale(table, row) for row in rows]
        return found

    async def windows(self, part: int, from_s: int, to_s: int) -> dict[WindowKey, StoredWindow]:
        """Minute windows that start in [from_s, to_s)."""
        parameters = {"part": part, "from": from_s, "to": to_s, "bits": OFFSET_BITS}
        found: dict[WindowKey, StoredWindow] = {}
        for shard, rows in enumerate(await self._shards.ask(_WINDOWS, parameters)):
            for *names, start, epoch, n, s1, lo, hi, sketched, incarnations in rows:
                key = (*map(str, names), int(start), int(epoch))
                stored = found.setdefault(key, StoredWindow())  # type: ignore[arg-type]  # three names
                stored.n += int(n)
                stored.s1 += float(s1)
                stored.lo, stored.hi = min(stored.lo, float(lo)), max(stored.hi, float(hi))
                stored.sketched += int(sketched)
                stored.rows += [
                    (offset_of(int(inc)), offset_of(int(ver)), int(count), shard)
                    for inc, ver, count in incarnations
                ]
        return found

    async def app_windows(
        self, declared: AggregatedWindows, part: int, from_ms: int, to_ms: int
    ) -> dict[AppWindowKey, list[ShownRow]]:
        names = aggregate_columns(declared)
        columns = ", ".join(f"`{name}`" for name in (*declared.by, *names))
        sql = _APP_WINDOWS.format(columns=columns, table=declared.name)
        parameters = {"part": part, "from": from_ms, "to": min(to_ms, _LAST_MS)}
        found: defaultdict[AppWindowKey, list[ShownRow]] = defaultdict(list)
        by = by_key(declared.table)
        for shard, rows in enumerate(await self._shards.ask(sql, parameters, by)):
            for *values, start_ms, end_ms, closed, epoch in rows:
                place = tuple(values[: len(declared.by)]), int(start_ms), int(epoch)
                shown = dict(zip(names, values[len(declared.by) :], strict=True))
                found[place].append(ShownRow(int(end_ms), bool(closed), shown, shard))
        return dict(found)


def _ledger_row(row: Sequence[Any]) -> LedgerRow:
    *numbers, by_code = row
    part, epoch, next_offset, read, applied, duplicates, dead, shed, gaps = map(int, numbers)
    return LedgerRow(
        partition=part,
        epoch=epoch,
        next_offset=next_offset,
        read=read,
        applied=applied,
        duplicates=duplicates,
        dead=dead,
        shed=shed,
        gaps=gaps,
        dead_by_code={str(code): int(n) for code, n in by_code.items()},
    )


def _stale(table: Bucket, row: Sequence[Any]) -> StaleRollUp:
    tenant, model, metric, start, n, s1, n_stored, s1_stored = row
    moment = datetime.fromtimestamp(int(start), UTC)
    return StaleRollUp(
        table=table,
        series=f"{tenant} {model} {metric}",
        start=f"{moment:%Y-%m-%dT%H:%MZ}",
        in_minutes=(int(n), float(s1)),
        stored=(int(n_stored), float(s1_stored)),
    )
