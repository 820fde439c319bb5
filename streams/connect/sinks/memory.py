"""`MemoryShards`: ReplacingMergeTree in dictionaries, with scripted faults.

Per key it keeps the row with the highest ``ver``, the last inserted of equal ones. A shard has one
or more replicas (`streams.connect.sinks.memory_replica`)."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from streams.connect.sinks import rollup, sharding
from streams.connect.sinks.map_record import SHOWN, DayState, MapRecord, RecordedMap
from streams.connect.sinks.memory_replica import MemoryReplica, Row, shown, spread, synced
from streams.connect.sinks.shard_claim import ShardPlace
from streams.connect.sinks.view_source import WINDOWS
from streams.core.clock import Clock
from streams.core.errors import ShardBusy, ShardMapChanged, ShardUnavailable
from streams.core.rows.built_in_tables import (
    MAP_HINT,
    OFFSET_BITS,
    OFFSET_END,
    Bucket,
    FactRows,
    Rows,
    RowsRefused,
    WindowRows,
)
from streams.core.rows.clickhouse_table import MOVED, ClickHouseTable
from streams.core.rows.dated_map import DAY_S, DatedMap, MapIdentity, shard_key_text
from streams.core.rows.deviations import combined
from streams.core.rows.moved_mark import mark, token, version_of_move
from streams.core.rows.operational_tables import OPERATIONAL

SERIES = ("tenant", "model", "metric")
WINDOW_KEY = (*SERIES, "w", "part", "inc", MOVED)


@dataclass(slots=True)
class ShardFaults:
    """Tests may set the fields at any time."""

    down: bool = False
    """every call raises `ShardUnavailable`"""
    busy: bool = False
    """every call raises `ShardBusy`"""
    slow_s: float = 0.0
    """delay before a call has an effect"""
    refuse: Callable[[str, Row], bool] | None = None
    """(table, row) -> whether the shard refuses this row"""
    refuse_always: Callable[[str, Row], bool] | None = None
    """as ``refuse``, but not ended by healing"""
    fail_after_rows: int | None = None
    """of the next insert, then raise `ShardUnavailable`; once"""
    fail_roll_ups: int = 0
    """this many recomputations raise `ShardUnavailable`"""
    mute: bool = False
    """it does not say its shard maps in time; other calls succeed"""

    def refuses(self, table: str, row: Row) -> bool:
        return any(
            rule is not None and rule(table, row) for rule in (self.refuse, self.refuse_always)
        )


@dataclass(slots=True)
class _Server:
    """It outlives the processes."""

    replicas: list[MemoryReplica]
    faults: ShardFaults = field(default_factory=ShardFaults)
    claim: MapIdentity | None = None

    @property
    def says_maps(self) -> bool:
        faults = self.faults
        return self.claim is not None and not (faults.down or faults.busy or faults.mute)


class MemoryShards:
    """`ShardSet` documents the methods."""

    def __init__(
        self,
        count: int,
        clock: Clock,
        *,
        retention_days: int = 30,
        shard_map: sharding.ShardMap | None = None,
        replicas: int = 1,
        tables: Mapping[str, ClickHouseTable] = OPERATIONAL,
    ) -> None:
        """``replicas``: per shard. ``tables``: the declared ones, by name."""
        self.inserted_rows = 0
        self._tables = tables
        self._keys = _keys(tables)
        self._clock = clock
        self._retention_days = retention_days
        self._map = shard_map or sharding.ShardMap(count, sharding.HashSharding(count))
        self._servers = [
            _Server([MemoryReplica(self._keys) for _ in range(replicas)], claim=self._map.identity)
            for _ in range(count)
        ]
        self._everywhere = self._servers
        self._first, self._record = self._map, [self._map.dated()]
        """the maps that the servers record"""
        self._maps = tuple(self._record)
        self.recorded_moves: dict[int, MapRecord] = {}
        """by version"""
        self._day_states: dict[tuple[int, int], DayState] = {}
        self._placed: dict[tuple[Any, ...], int] = {}
        self._confirmed = self._asked = False

    def with_map(self, shard_map: sharding.ShardMap) -> Self:
        """The same servers for a process with another map; added servers are not migrated."""
        seen = copy.copy(self)
        seen.configure(shard_map)
        return seen

    def configure(self, shard_map: sharding.ShardMap) -> None:
        added = range(len(self._servers), shard_map.shards)
        self._servers = [
            *self._servers[: shard_map.shards],
            *(_Server([MemoryReplica(self._keys)]) for _ in added),
        ]
        self._map = shard_map
        self.forget_maps()

    def view(self) -> Self:
        """The same servers as another process sees them, which has learned of no later map."""
        seen = copy.copy(self)
        seen.forget_maps()
        return seen

    def as_read_now(self) -> Self:
        """The same servers for a reader that goes on by the states of moves as they are now."""
        seen = copy.copy(self)
        seen.keep_day_states()
        return seen

    def keep_day_states(self) -> None:
        self._day_states = dict(self._day_states)

    def forget_maps(self) -> None:
        self._maps, self._confirmed, self._asked = (self._map.dated(),), False, False

    def add_shard(self, first_day: int) -> None:
        """Record a map with one more shard by hash, from ``first_day`` (days since 1970) on."""
        count = len(self._servers) + 1
        replicas = [MemoryReplica(self._keys) for _ in self._servers[0].replicas]
        self._servers.append(_Server(replicas, claim=self._map.identity))
        grown = sharding.ShardMap(count, sharding.HashSharding(count))
        self._record.append(grown.dated(first_day))
        self._maps = tuple(self._record)

    def add_move(self, record: MapRecord) -> None:
        """Record a move, which has the next version."""
        assert record.version == len(self._record) + 1, "versions are consecutive"
        self.recorded_moves[record.version] = record
        self._record.append(RecordedMap(record, in_force=True).dated())
        self._maps = tuple(self._record)

    def day_state(self, version: int, day: int) -> DayState:
        return self._day_states.get((version, day), DayState.COPYING)

    def enter_day(self, version: int, day: int, state: DayState) -> None:
        self._day_states[version, day] = max(state, self.day_state(version, day))
        record = self.recorded_moves[version]
        states = {its: one for (of, its), one in self._day_states.items() if of == version}
        self._record[version - 1] = RecordedMap(record, True, states).dated()

    @property
    def shows_moving_days(self) -> bool:
        """Whether a day that is not moved yet is shown from its copies."""
        return any(
            self.day_state(version, day) in SHOWN
            for version in self.recorded_moves
            for day in self._record[version - 1].unfinished
        )

    def put(self, shard: int, table: str, rows: Sequence[Row]) -> None:
        """Store rows as they are."""
        self._store(shard, [(table, row) for row in rows])

    def drop(self, shard: int, table: str, rows: Sequence[Row]) -> None:
        for replica in self._servers[shard].replicas:
            for row in rows:
                replica.tables[table].pop(tuple(row[name] for name in self._keys[table]), None)

    def with_tables(self, tables: Mapping[str, ClickHouseTable]) -> Self:
        """The same servers for a process whose app declares other tables."""
        seen = copy.copy(self)
        seen.declare(tables)
        return seen

    def declare(self, tables: Mapping[str, ClickHouseTable]) -> None:
        self._tables, self._keys = tables, _keys(tables)
        for server in self._everywhere:
            for replica in server.replicas:
                replica.migrate(self._keys)

    @property
    def faults(self) -> list[ShardFaults]:
        return [server.faults for server in self._servers]

    def replicas(self, shard: int) -> list[MemoryReplica]:
        return self._servers[shard].replicas

    @property
    def count(self) -> int:
        return self._maps[-1].shards

    @property
    def tables(self) -> Mapping[str, ClickHouseTable]:
        return self._tables

    @property
    def identity(self) -> MapIdentity:
        return self._map.identity

    @property
    def confirmed(self) -> bool:
        return self._confirmed

    @property
    def maps(self) -> Sequence[DatedMap]:
        return self._maps

    async def learn(self, *, certain: bool = False) -> None:
        first_time, self._asked = not self._asked, True
        if not any(server.says_maps for server in self._servers[: self.count]):
            if certain:
                raise ShardUnavailable("no server says its shard maps (scripted)")
            return
        if self.identity.digest not in {dated.identity.digest for dated in self._record}:
            recorded = self._record[-1].identity.description
            raise ShardMapChanged(f"the shards record {recorded} (scripted). {MAP_HINT}")
        if self._map.identity != self._first.identity and not first_time:
            raise ShardMapChanged(f"the first map is another than this one (scripted). {MAP_HINT}")
        self._map, self._servers = self._first, self._everywhere
        self._maps = tuple(self._record)
        self._confirmed = True

    def shard_of_key(self, key: str) -> int:
        return self._map.shard_of_key(key)

    async def insert(self, shard: int, chunks: Sequence[Rows]) -> None:
        await self._reach(shard)
        faults = self._servers[shard].faults
        refused: list[int] = []
        taken: list[tuple[str, Row]] = []
        for index, (table, row) in enumerate(rows_of(chunks)):
            if faults.fail_after_rows is not None and index >= faults.fail_after_rows:
                faults.fail_after_rows = None
                self._store(shard, taken)
                raise ShardUnavailable(f"shard {shard} broke off after {index} rows (scripted).")
            if faults.refuses(table, row):
                refused.append(index)
            else:
                taken.append((table, row))
        self._store(shard, taken)
        if refused:
            raise RowsRefused(refused, "refused by script")

    async def roll_up(self, shard: int, table: Bucket, start_s: int) -> None:
        """Also raises `RollUpExpired` when its minutes have begun to expire."""
        now_s = self._clock.now_ms() / 1000
        rollup.refuse_expired(table, start_s, now_s, self._retention_days)
        await self._reach(shard)
        server = self._servers[shard]
        if server.faults.fail_roll_ups:
            server.faults.fail_roll_ups -= 1
            raise ShardUnavailable(f"shard {shard} recomputes nothing now (scripted).")
        if synced(server.replicas) is None:
            raise ShardUnavailable(f"no replica of shard {shard} has all rows now (scripted).")
        self.recompute(shard, table, start_s)

    def recompute(self, shard: int, table: Bucket, start_s: int) -> None:
        """As `roll_up`, of a shard that has a replica with all rows."""
        found = synced(self._servers[shard].replicas)
        assert found is not None, "the caller looked"
        stop_s = start_s + rollup.WIDTH_S[table]
        series: defaultdict[tuple[str, str, str, int], list[Row]] = defaultdict(list)
        for row in found.tables[rollup.SOURCE[table]].values():
            recomputed = table == "h1" or row["inc"] == 0
            if start_s <= row["w"] < stop_s and recomputed:
                series[row["tenant"], row["model"], row["metric"], row["moved"]].append(row)
        rolled = [(table, merged(parts, start_s)) for parts in series.values()]
        self._store(shard, rolled)

    async def ping(self, shard: int) -> None:
        await self._reach(shard)

    async def close(self) -> None:
        return

    def key(self, table: str) -> tuple[str, ...]:
        return self._keys[table]

    def shown_key(self, table: str) -> tuple[str, ...]:
        """The key as far as readers see it: one row of it counts."""
        moves = self.moves(table)
        return tuple(name for name in self._keys[table] if not moves or name != MOVED)

    def moves(self, table: str) -> bool:
        """Whether its rows are placed by their day, and so move."""
        return table in WINDOWS or bool(self._tables[table].day_of)

    def day(self, table: str, row: Row) -> int:
        """The UTC day of a row that moves, in days since 1970."""
        if table in WINDOWS:
            return int(row["w"]) // DAY_S
        return int(row[self._tables[table].day_of]) // (1000 * DAY_S)

    @property
    def stored_tables(self) -> tuple[str, ...]:
        return tuple(self._keys)

    def rows(self, table: str, shard: int | None = None) -> list[Row]:
        """As its view shows them, of all shards or one."""
        if not self.moves(table):
            return self.stored(table, shard)
        chosen = range(len(self._servers)) if shard is None else [shard]
        return [
            {name: value for name, value in row.items() if name != MOVED}
            for one in chosen
            for row in self.stored(table, one)
            if (table not in WINDOWS or row["n"]) and self.counts(table, row, one)
        ]

    def counts(self, table: str, row: Row, shard: int) -> bool:
        return self.counts_before(table, row, shard, len(self._record) + 1)

    def counts_before(self, table: str, row: Row, shard: int, before: int) -> bool:
        """By the moves of a version below ``before``, as `streams.connect.sinks.moved_rows` says."""
        day, placed_by = self.day(table, row), version_of_move(row[MOVED])
        for version, record in self.recorded_moves.items():
            if version >= before:
                break
            shown = day in record.days and self.day_state(version, day) in SHOWN
            if token(version, 0) <= row["moved"] < mark(version) and not shown:
                return False
            if shown and placed_by < version and self.placed(version, table, row) != shard:
                return False
        return True

    def placed(self, version: int, table: str, row: Row) -> int:
        """The shard that a move gives to the row's series or key."""
        names = self.names(table, row)
        place = version, table in WINDOWS, *names
        if place not in self._placed:
            shard_map = self.recorded_moves[version].shard_map
            if table in WINDOWS:
                self._placed[place] = int(shard_map.shard_of(*([name] for name in names))[0])
            else:
                self._placed[place] = shard_map.shard_of_key(shard_key_text(names))
        return self._placed[place]

    def names(self, table: str, row: Row) -> tuple[Any, ...]:
        """What chooses the shard of a row."""
        by = SERIES if table in WINDOWS else self._tables[table].shard_by
        return tuple(row[name] for name in by)

    def stored(self, table: str, shard: int | None = None) -> list[Row]:
        """As `rows`, with the empty ones."""
        chosen = self._servers if shard is None else [self._servers[shard]]
        return [dict(row) for server in chosen for row in shown(server.replicas, table)]

    def m1_rows(self) -> list[Row]:
        return self.rows("m1")

    async def _reach(self, shard: int) -> None:
        server = self._servers[shard]
        faults = server.faults
        if faults.slow_s:
            await self._clock.sleep(faults.slow_s)
        if faults.down:
            raise ShardUnavailable(f"shard {shard} is down (scripted).")
        if faults.busy:
            raise ShardBusy(f"shard {shard} is busy (scripted).")
        self._settle(shard, server)

    def _settle(self, shard: int, server: _Server) -> None:
        if server.claim is None:
            raise ShardUnavailable(f"shard {shard} does not say what it holds (scripted).")
        claims = [(shard, server.claim.digest, server.claim.description)]
        ShardPlace(shard, self.identity).settle(f"shard {shard}", lambda: claims, None)
        self._confirmed = True

    def _store(self, shard: int, rows: Sequence[tuple[str, Row]]) -> None:
        """On a quorum, or raise; some replicas may then have the rows."""
        at = self._clock.now_ms()
        stored = [(table, {**row, "at": at}) for table, row in rows]
        self.inserted_rows += len(stored)
        replicas = self._servers[shard].replicas
        if spread(replicas, stored) < self._quorum(len(replicas)):
            raise ShardUnavailable(f"too few replicas of shard {shard} took the rows (scripted).")

    def _quorum(self, replicas: int) -> int:
        """``insert_quorum=auto``: a majority."""
        return replicas // 2 + 1


def _keys(tables: Mapping[str, ClickHouseTable]) -> dict[str, tuple[str, ...]]:
    return {
        **dict.fromkeys(WINDOWS, WINDOW_KEY),
        **{name: table.key for name, table in tables.items()},
    }


def rows_of(chunks: Sequence[Rows]) -> list[tuple[str, Row]]:
    """Each row with its table, in the order that `RowsRefused` counts."""
    return [
        (chunk.table, row)
        for chunk in chunks
        for row in (_windows(chunk) if isinstance(chunk, WindowRows) else _facts(chunk))
    ]


def _windows(chunk: WindowRows) -> list[Row]:
    plain = {
        name: getattr(chunk, name).tolist()
        for name in ("w", "inc", "n", "s1", "s2", "mean", "m2", "lo", "hi", "lv", "lt", "ver")
    }
    bounds = chunk.sk_off.tolist()
    return [
        {
            "tenant": chunk.tenants[chunk.tenant_code[i]],
            "model": chunk.models[chunk.model_code[i]],
            "metric": chunk.metrics[chunk.metric_code[i]],
            "part": chunk.part,
            "moved": chunk.moved,
            **{name: values[i] for name, values in plain.items()},
            "sk_k": chunk.sk_k[bounds[i] : bounds[i + 1]].tolist(),
            "sk_n": chunk.sk_n[bounds[i] : bounds[i + 1]].tolist(),
        }
        for i in range(len(chunk))
    ]


def _facts(chunk: FactRows) -> list[Row]:
    return [{name: values[i] for name, values in chunk.columns.items()} for i in range(len(chunk))]


def merged(parts: Sequence[Row], start_s: int) -> Row:
    """One series' hour or day, as `streams.connect.sinks.rollup.SQL` computes it."""
    sketch: defaultdict[int, int] = defaultdict(int)
    for row in parts:
        for code, count in zip(row["sk_k"], row["sk_n"], strict=True):
            sketch[code] += count
    mean, m2 = combined(*(np.array([row[name] for row in parts]) for name in ("n", "mean", "m2")))
    last = max(parts, key=lambda row: (row["lt"], row["inc"], row["moved"]))
    return {
        **{name: last[name] for name in ("tenant", "model", "metric", "lv", "lt")},
        **{name: sum(row[name] for row in parts) for name in ("n", "s1", "s2")},
        "ver": max(row["ver"] >> OFFSET_BITS for row in parts) << OFFSET_BITS
        | min(sum(row["n"] for row in parts), OFFSET_END),
        "w": start_s,
        "mean": mean,
        "m2": m2,
        "part": last["moved"],
        "moved": last["moved"],
        "inc": 0,
        "lo": min(row["lo"] for row in parts),
        "hi": max(row["hi"] for row in parts),
        "sk_k": sorted(sketch),
        "sk_n": [sketch[code] for code in sorted(sketch)],
    }
