"""Days move between real shards while their rows are counted after each step of the mover."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from agents.app import app
from streams.connect.sinks import rollup, schema, series, shard_maps
from streams.connect.sinks.map_record import DayState, day_of
from streams.connect.sinks.moved_rows import by_key, placed
from streams.connect.sinks.moves.clickhouse import ClickHouseMoves
from streams.connect.sinks.moves.notes import MoveNotes, MoveOrder, MoveProgress
from streams.connect.sinks.sharding import (
    DirectorySharding,
    HashSharding,
    RangeSharding,
    ShardMap,
    WithoutShards,
)
from streams.connect.sinks.window_views.read import read
from streams.connect.sinks.window_views.series_view import SeriesReading
from streams.connect.sinks.window_views.view import Question
from streams.core.clock import SystemClock
from streams.core.rows.built_in_tables import WINDOW_TABLES
from streams.core.rows.clickhouse_table import quoted
from streams.core.rows.dated_map import DAY_S
from streams.core.rows.moved_mark import mark
from streams.core.settings import Settings
from streams.engine.aggregates.sums import Count, Sum
from streams.engine.app.app import App
from streams.engine.app.window_views import window_views
from streams.operate.shards import growth
from streams.operate.shards.move_plan import planned_move
from streams.operate.shards.mover import MoveMeans, MoveOptions, Mover
from streams.operate.shards.running_move import give_order, standings
from tests.properties.test_move_laws import KilledError


class Sale(msgspec.Struct):
    account: str
    gift: bool
    amount: float
    ts: int


shop = App("acme")
shop.windows(
    "sold",
    of=shop.topic("sales", value_type=Sale, key_field="account", time_field="ts"),
    by=("account", "gift"),
    size=60,
    fold={"n": Count(), "total": Sum("amount")},
)
TABLES = {**app.clickhouse_tables, **shop.clickhouse_tables}
TENANTS = [f"tenant {n}" for n in range(12)]
MOVED = datetime.now(UTC).date() - timedelta(days=3)
DAY = day_of(MOVED)
BEFORE = ShardMap(2, HashSharding(2))
SHOWN = " UNION ALL ".join(
    f"SELECT '{table}', toString(tenant), toUInt32(toDate(w)), sum(n) FROM {table} GROUP BY 2, 3"
    for table in WINDOW_TABLES
)
ROW = "('{tenant}', 'm', 'k', {w}, {part}, {inc}, {n}, {n} / 3, 0.1, {w}, [900], [{n}], {ver}, {moved})"
INSERT = (
    "INSERT INTO m1_local (tenant, model, metric, w, part, inc, n, s1, mean, lt, sk_k, sk_n, ver, moved) "
    "VALUES "
)
SOLD = "({w}, '{tenant}', {gift}, {w} + 60, {part}, 1, {n}, 0.5, 0, {moved}, {ver}, {w} + 61)"
INSERT_SOLD = "INSERT INTO sold_local (w, account, gift, w_end, part, closed, n, total, epoch, moved, ver, at) VALUES "


class Place:
    """Two shards with rows of three days."""

    def __init__(self, stack, database):
        self.settings = Settings(
            clickhouse_shards=",".join(stack.shards),
            clickhouse_user=stack.clickhouse_user,
            clickhouse_password_file=str(stack.clickhouse_password_file),
            clickhouse_database=database,
        )
        self.servers = schema.servers(self.settings, TABLES)
        self.events, self.incarnations = Counter(), 0
        self.sold = Counter()
        """windows of `app.windows` by account and day"""
        for server in self.servers:
            server.migrator.apply()
        self.sent = [self.fold(day, BEFORE, TENANTS * 2) for day in (DAY - 1, DAY, DAY + 1)]

    def close(self):
        for server in self.servers:
            server.replica.command(f"DROP DATABASE {self.settings.clickhouse_database}")
            server.replica.close()

    def fold(self, day, shard_map, tenants, moved=0):
        """Windows of a partition that places the day by ``shard_map``, with their hour and day; of each one of
        `app.windows`, too."""
        values = {0: ([], []), 1: ([], [])}
        for tenant in tenants:
            self.incarnations += 1
            number = self.incarnations
            (shard,) = shard_map.shard_of([tenant], ["m"], ["k"]).tolist()
            given = {"tenant": tenant, "w": day * DAY_S + number % 60 * 60, "part": number % 3}
            row = ROW.format(**given, inc=number, n=number % 7 + 1, ver=100 + number, moved=moved)
            values[shard][0].append(row)
            self.events[tenant, day] += number % 7 + 1
            given |= {"w": day * DAY_S + number, "gift": number % 2 == 0, "n": 1, "ver": number}
            (home,) = {shard_map.shard_of_key(f"{tenant}\0{given['gift']}")}
            values[home][1].append(SOLD.format(**given, moved=moved))
            self.sold[tenant, day] += 1
        for shard in values:
            self.store(shard, values, day)
        return values

    def store(self, shard, values, day):
        replica = self.servers[shard].replica
        for insert, rows in zip((INSERT, INSERT_SOLD), values[shard], strict=True):
            if rows:
                replica.command(insert + ", ".join(rows))
        for table in ("h1", "d1"):
            bounds = {"start": day * DAY_S, "stop": day * DAY_S + rollup.WIDTH_S[table]}
            replica.command(rollup.statement(table), bounds)

    def judge(self):
        """In the views of both servers."""
        for server in self.servers:
            found = {table: {} for table in WINDOW_TABLES}
            for table, tenant, day, n in server.replica.query(SHOWN)[1]:
                found[table][tenant, day] = n
            assert found == {table: dict(self.events) for table in WINDOW_TABLES}
            rows = server.replica.query(
                "SELECT account, toUInt32(toDate(w)), count() FROM sold GROUP BY 1, 2"
            )
            assert {(account, day): n for account, day, n in rows[1]} == dict(self.sold)

    def judge_series(self):
        """As `dia query series` reads them."""
        asked = series.SeriesQuery(
            tenant=TENANTS[0], model="m", metric="k", start_s=(DAY - 1) * DAY_S,
            stop_s=(DAY + 2) * DAY_S, step_s=DAY_S,
        )  # fmt: skip
        for table in WINDOW_TABLES:
            counted = sum(read(self.settings, SeriesReading(asked, table)).columns["count"])
            assert counted == sum(n for (one, _), n in self.events.items() if one == TENANTS[0])
        view = window_views(shop, self.settings)["sold"]
        grain, figures = view.grains[0], view.figures[:1]
        counted = 0
        for gift in (False, True):
            given = (TENANTS[0], gift), grain, (DAY - 1) * DAY_S, (DAY + 2) * DAY_S, DAY_S * 1000
            points = read(self.settings, view.reading(Question(*given), figures))
            counted += sum(points.columns[figures[0].name])
        assert counted == sum(n for (one, _), n in self.sold.items() if one == TENANTS[0])

    def held(self, shard):
        """Rows of the moved day on a server, in all tables."""
        counts = (
            self.servers[shard].replica.query(
                f"SELECT count() FROM {table}_local WHERE toDate(w) = '{MOVED}'"
            )[1]
            for table in (*WINDOW_TABLES, "sold")
        )
        return sum(int(rows[0][0]) for rows in counts)


class Watched:
    """Counts the rows after each change, and ends the process after change number ``last``."""

    def __init__(self, store, place, last):
        self._store, self._place, self._left = store, place, last

    def __getattr__(self, name):
        found = getattr(self._store, name)
        if name not in {"copy", "enter", "delete_originals", "delete_copies"}:
            return found

        def called(*args, **named):
            result = found(*args, **named)
            self._place.judge()
            self._left -= 1
            if self._left == 0:
                raise KilledError
            return result

        return called


def planned(place, drained):
    """A move of the day, in force."""
    known = shard_maps.told(place.settings)
    plan = planned_move(place.settings, known, MOVED, MOVED, drained)
    assert growth.apply(place.settings, TABLES, plan, lambda: None, lambda _: None, lambda _: None)
    return plan.record.version, plan.record.shard_map


def moved(place, version, last=0):
    means = MoveMeans(
        taken=lambda: None,
        check=lambda: None,
        say=lambda _: None,
        sleep=lambda _: place.judge_series(),
        clock=SystemClock(),
        retention_days=30,
        order=lambda: MoveOrder(batch=5),
        told=lambda _: None,
    )
    store = ClickHouseMoves(place.settings, TABLES, shard_maps.told(place.settings), version)
    try:
        options = MoveOptions(sample=10, seed=7)
        return Mover(Watched(store, place, last), options, means).run()
    finally:
        store.close()


def paced(place, version):
    """Orders and progress of a mover, as operators and `dia shards moves` see them."""
    settings = place.settings
    assert give_order(settings, version) == MoveOrder()
    give_order(settings, version, batch=500, rate=2.5)
    give_order(settings, version, paused=True)
    order = give_order(settings, version, rate=0, paused=False)
    assert order == MoveOrder(batch=500)
    notes = MoveNotes(settings, shard_maps.told(settings), version)
    assert (notes.order(), notes.progress()) == (order, None)
    notes.tell(MoveProgress(day=DAY, whole=10, done=4, seconds=2.0))
    notes.close()
    (found,) = (one for one in standings(settings, app) if one.version == version)
    assert (found.state, found.per_s) == (DayState.COPYING, 2.0)
    assert found.seconds_left == (found.left - 4) / 2.0


@pytest.mark.parametrize(
    ("database", "kills", "kills_back"),
    [
        ("moved", (2,), ()),
        pytest.param("killed_often", (1, 2, 3, 2, 1), (2, 3), marks=pytest.mark.long),
    ],
    ids=["killed once", "killed often"],
)
def test_a_day_is_drained_onto_the_other_shard(stack, database, kills, kills_back):
    """Each row counts once after each step, for views and series, late rows and rows that a sleeper
    sends again; a run that ends at any step goes on; the drained shard has nothing of the day."""
    place = Place(stack, database)
    place.judge()
    version, shard_map = planned(place, [0])
    assert place.held(0)
    paced(place, version)
    for last in kills:
        with pytest.raises(KilledError):
            moved(place, version, last)
        place.fold(DAY, shard_map, TENANTS[last : last + 3], mark(version))
        place.judge()
    assert moved(place, version).days == 1
    place.judge()
    place.judge_series()
    assert place.held(0) == 0

    known = shard_maps.told(place.settings)
    assert known.maps[1].states == {DAY: DayState.DONE}
    place.store(0, place.sent[1], DAY)
    assert place.held(0)
    place.judge()

    # Back to both shards, with rows that the first move brought and placed, and those of a sleeper.
    version, shard_map = planned(place, [])
    place.fold(DAY, shard_map, TENANTS[:4], mark(version))
    for last in kills_back:
        with pytest.raises(KilledError):
            moved(place, version, last)
        place.store(0, place.sent[1], DAY)
        place.judge()
    assert moved(place, version).days == 1
    place.store(0, place.sent[1], DAY)
    place.judge()
    place.judge_series()
    place.close()


STRATEGIES = [
    HashSharding(7),
    HashSharding(3, (2, 1, 3)),
    RangeSharding(("", "n", "tenant 5", "é"), (1, 0, 2, 1)),
    DirectorySharding({"tenant 3": 2, "o'ne": 0}, HashSharding(3)),
    WithoutShards(4, HashSharding(4), (0, 2)),
    WithoutShards(3, DirectorySharding({"tenant 3": 2}, HashSharding(3)), (2,)),
]


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda one: type(one).__name__)
def test_the_servers_place_series_as_the_map_does(servers, strategy):
    """A mover asks them which rows leave a shard, and writers place later rows by the map."""
    tenants = [*TENANTS, "", "a", "n", "nn", "o'ne", "é", "ü\\", "日本"]
    names = [(tenant, f"m{n % 3}", f"k {n % 5}") for n, tenant in enumerate(tenants * 10)]
    rows = ", ".join(f"({quoted(a)}, {quoted(b)}, {quoted(c)})" for a, b, c in names)
    sql = (
        f"SELECT toInt32({placed(strategy)}) FROM (SELECT x.1 AS tenant, x.2 AS model, x.3 AS metric "
        f"FROM (SELECT arrayJoin([{rows}]) AS x))"
    )
    found = servers[0].replica.query(sql)[1]
    assert [row[0] for row in found] == strategy.shard_of(*zip(*names, strict=True)).tolist()


@pytest.mark.parametrize("strategy", STRATEGIES[-2:])
def test_the_servers_place_keys_of_windows_as_the_map_does(servers, strategy):
    """Of texts and truths, as the engine writes them; only shards that are left out matter."""
    keys = [
        (tenant, n % 3 == 0)
        for n, tenant in enumerate([*TENANTS, "", "o'ne", "é", "ü\\", "日本"] * 9)
    ]
    rows = ", ".join(f"({quoted(account)}, {str(gift).lower()})" for account, gift in keys)
    shard_map = ShardMap(strategy.shards, strategy)
    sql = (
        f"SELECT toInt32({by_key(TABLES['sold']).placed(shard_map)}) FROM (SELECT x.1 AS account, x.2 AS gift "
        f"FROM (SELECT arrayJoin([{rows}]) AS x))"
    )
    found = servers[0].replica.query(sql)[1]
    wanted = [shard_map.shard_of_key(f"{account}\0{gift}") for account, gift in keys]
    assert [row[0] for row in found] == wanted
