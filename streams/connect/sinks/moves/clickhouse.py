"""`MoveStore` of real servers, one a shard."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from streams.connect.sinks import map_record, rollup, schema
from streams.connect.sinks.map_record import DayState, MapRecord
from streams.connect.sinks.moved_rows import (
    BY_SERIES,
    RowPlacement,
    arrived,
    by_key,
    originals,
    within,
)
from streams.connect.sinks.moves.store import HASH_BITS, Answers, Portion, Series, Tally
from streams.connect.sinks.replica import Replica, StatementRefused
from streams.connect.sinks.shard_maps import KnownMaps
from streams.connect.sinks.view_source import WINDOWS
from streams.core.errors import ShardUnavailable
from streams.core.rows.built_in_tables import WINDOW_TABLES, Bucket, WindowTable
from streams.core.rows.clickhouse_table import MOVED, ClickHouseTable
from streams.core.rows.moved_mark import token
from streams.core.settings import Settings

_COLUMNS: Final = tuple(name for name in WINDOWS["m1"] if name not in ("part", "ver"))
_DIGEST: Final = """
SELECT count(), sum(n), groupBitXor(cityHash64(
    toString(tenant), toString(model), toString(metric), w, inc, n, lo, hi, lv, lt, sk_k, sk_n, ver,
    if(inc = 0, 0, part), if(inc = 0, 0., s1), if(inc = 0, 0., s2), if(inc = 0, 0., mean),
    if(inc = 0, 0., m2)))
FROM ({rows})
"""
"""A recomputed row (inc = 0) names its move in ``part``, and another recomputation may round its
sums otherwise."""
_COPY: Final = """
SELECT {columns}, ver, if(inc = 0, toUInt32({token}), part) AS part, toUInt32({token}) AS moved
FROM ({rows})
"""
_MINUTES: Final = "SELECT * FROM m1_local FINAL WHERE {which}"
_LEAVING: Final = """
SELECT toUInt32({placed}) AS target, count() FROM {table}_local FINAL
WHERE {day} AND {originals} AND target != {source} GROUP BY target
"""
_SERIES: Final = "SELECT uniqExact(tenant, model, metric) FROM {table}_local WHERE {which}"
_ANSWERS: Final = """
SELECT toString(tenant), toString(model), toString(metric), toUnixTimestamp(toStartOfHour(w)) AS h,
    sum(n), sum(s1), min(lo), max(hi), argMax(lv, (lt, inc)), sumMap(sk_k, sk_n)
FROM {table}_local FINAL WHERE {which} AND cityHash64(tenant, model, metric, {seed}) % {every} = 0
GROUP BY tenant, model, metric, h ORDER BY tenant, model, metric, h
"""
_ROWS_DIGEST: Final = (
    "SELECT count(), count(), groupBitXor(cityHash64(tuple({columns}))) FROM ({rows})"
)
"""of `app.windows`"""
_ROWS: Final = "SELECT {columns} FROM {table}_local FINAL WHERE {which}"
_ARRIVED: Final = "SELECT count() FROM {table}_local FINAL WHERE {which}"
_DELETE: Final = "ALTER TABLE {table}_local DELETE WHERE {which} SETTINGS mutations_sync = 2"


class ClickHouseMoves:
    """Close it after use. ``known``: as the servers say; ``version``: that of the move."""

    def __init__(
        self,
        settings: Settings,
        tables: Mapping[str, ClickHouseTable],
        known: KnownMaps,
        version: int,
    ) -> None:
        self._settings = settings
        self._tables = tables
        self._windows = {name: table for name, table in tables.items() if table.day_of}
        self._servers = schema.servers(settings, tables, known)
        self._known = known
        self._record = known.maps[version - 1].record

    def close(self) -> None:
        for server in self._servers:
            server.replica.close()

    @property
    def record(self) -> MapRecord:
        return self._record

    @property
    def shards(self) -> int:
        return len(self._servers)

    @property
    def tables(self) -> Sequence[str]:
        return (*WINDOW_TABLES, *self._windows)

    def leaving(self, table: str, day: int, source: int) -> Mapping[int, int]:
        sql = _LEAVING.format(
            placed=self._placed(table),
            table=table,
            day=f"({within([day])})",
            originals=self._originals(table, source),
            source=source,
        )
        return {int(target): int(rows) for target, rows in self._ask(source, sql)}

    def tally(self, portion: Portion, *, copies: bool) -> Tally:
        shard = portion.target if copies else portion.source
        rows = self._rows(portion, copies=copies)
        if portion.table in self._windows:
            sql = _ROWS_DIGEST.format(columns=", ".join(self._carried(portion.table)), rows=rows)
        else:
            sql = _DIGEST.format(rows=rows)
        ((rows, events, digest),) = self._ask(shard, sql)
        return Tally(int(rows), int(events), int(digest))

    def copy(self, portion: Portion) -> None:
        rows, moved = self._rows(portion, copies=False), self._token(portion.source)
        if portion.table in self._windows:
            ((count,),) = self._ask(portion.source, f"SELECT count() FROM ({rows})")  # noqa: S608 - our own names
            if not int(count):
                return
            columns = self._carried(portion.table)
            sql = f"SELECT {', '.join(columns)}, toUInt32({moved}) AS moved FROM ({rows})"  # noqa: S608 - our own names
            source = self._at(portion.source)
            names = [*(name.strip("`") for name in columns), MOVED]
            self._at(portion.target).take(f"{portion.table}_local", names, source, sql)
            return
        sql = _COPY.format(columns=", ".join(_COLUMNS), token=moved, rows=rows)
        found = self._at(portion.source).columns(sql)
        if found.num_rows:
            self._at(portion.target).insert(f"{portion.table}_local", found)

    def _carried(self, table: str) -> list[str]:
        """The columns of a row of `app.windows` that a copy has, quoted; ``at`` decides when it expires."""
        return [f"`{name}`" for name in self._windows[table].shown]

    def delete_portion(self, portion: Portion) -> None:
        sql = _DELETE.format(table=portion.table, which=self._which(portion, copies=True))
        self._command(portion.target, sql)

    def copies(self, day: int) -> int:
        return sum(
            int(rows)
            for table in self.tables
            for shard in range(self.shards)
            for (rows,) in self._ask(shard, _ARRIVED.format(table=table, which=self._arrived(day)))
        )

    def answers(
        self, day: int, source: int, target: int, size: int, seed: int, *, copies: bool
    ) -> Answers:
        table: WindowTable = "m1"
        originals = self._scope(table, day, source, target, copies=False)
        ((series,),) = self._ask(source, _SERIES.format(table=table, which=originals))
        if not series:
            table = "h1"
            ((series,),) = self._ask(source, _SERIES.format(table=table, which=originals))
        which = self._scope(table, day, source, target, copies=copies)
        every = max(1, int(series) // size)
        sql = _ANSWERS.format(table=table, which=which, seed=seed, every=every)
        found: defaultdict[Series, list[Sequence[Any]]] = defaultdict(list)
        for tenant, model, metric, *numbers in self._ask(target if copies else source, sql):
            found[tenant, model, metric].append(numbers)
        return found

    def roll_up(self, shard: int, table: Bucket, start_s: int) -> None:
        bounds = {"start": start_s, "stop": start_s + rollup.WIDTH_S[table]}
        self._command(shard, rollup.statement(table), bounds)

    def state(self, day: int) -> DayState:
        return max(
            (
                DayState(int(state))
                for shard in range(self.shards)
                for version, its, state in self._ask(shard, map_record.READ_DAYS)
                if version == self._record.version and its == day
            ),
            default=DayState.COPYING,
        )

    def enter(self, day: int, state: DayState) -> None:
        values = {"version": self._record.version, "day": day, "state": int(state)}
        for shard in range(self.shards):
            self._command(shard, map_record.WRITE_DAY, values)
        if state in (DayState.SHOWN, DayState.RETURNED):
            for server in (fresh := schema.servers(self._settings, self._tables)):
                server.migrator.apply()
            for server in fresh:
                server.replica.close()

    def delete_originals(self, day: int) -> None:
        for shard in range(self.shards):
            for table in self.tables:
                originals, placed = self._originals(table, shard), self._placed(table)
                leaves = f"({within([day])}) AND {originals} AND ({placed}) != {shard}"
                self._delete(shard, table, leaves)

    def delete_copies(self, day: int) -> None:
        for shard in range(self.shards):
            for table in self.tables:
                self._delete(shard, table, self._arrived(day))

    def _arrived(self, day: int) -> str:
        return f"({within([day])}) AND {arrived(self._record.version)}"

    def _by(self, table: str) -> RowPlacement:
        return by_key(self._windows[table]) if table in self._windows else BY_SERIES

    def _placed(self, table: str) -> str:
        return self._by(table).placed(self._record.shard_map)

    def _token(self, source: int) -> int:
        return token(self._record.version, source)

    def _scope(self, table: str, day: int, source: int, target: int, *, copies: bool) -> str:
        if copies:
            return f"({within([day])}) AND moved = {self._token(source)}"
        originals = self._originals(table, source)
        return f"({within([day])}) AND {originals} AND ({self._placed(table)}) = {target}"

    def _which(self, portion: Portion, *, copies: bool) -> str:
        table, day, source, target = portion.table, portion.day, portion.source, portion.target
        scope = self._scope(table, day, source, target, copies=copies)
        hashed = f"bitShiftRight({self._by(table).hash}, {64 - HASH_BITS})"
        return f"{scope} AND {hashed} >= {portion.first} AND {hashed} < {portion.end}"

    def _rows(self, portion: Portion, *, copies: bool) -> str:
        which = self._which(portion, copies=copies)
        if portion.table == "m1":
            return _MINUTES.format(which=which)
        if portion.table in self._windows:
            columns = ", ".join(self._carried(portion.table))
            return _ROWS.format(columns=columns, table=portion.table, which=which)
        return rollup.one_each(cast(Bucket, portion.table), which)

    def _originals(self, table: str, shard: int) -> str:
        return originals(self._known, self._record.version, shard, self._by(table))

    def _delete(self, shard: int, table: str, which: str) -> None:
        self._command(shard, _DELETE.format(table=table, which=which))

    def _at(self, shard: int) -> Replica:
        return self._servers[shard].replica

    def _ask(self, shard: int, sql: str) -> Sequence[Sequence[Any]]:
        try:
            return self._at(shard).query(sql)[1]
        except StatementRefused as error:
            raise _refused(self._at(shard), error) from error

    def _command(self, shard: int, sql: str, values: Mapping[str, Any] | None = None) -> None:
        try:
            self._at(shard).command(sql, values)
        except StatementRefused as error:
            raise _refused(self._at(shard), error) from error


def _refused(replica: Replica, error: StatementRefused) -> ShardUnavailable:
    return ShardUnavailable(
        f"{replica.url} refuses a statement of the move: {error} `dia migrate status` compares its "
        "schema."
    )
