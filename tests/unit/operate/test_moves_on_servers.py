"""A mover that dies between two servers: what each server records and shows once it is run again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from streams.connect.sinks import map_record, schema
from streams.connect.sinks.map_record import DayState, MapRecord, RecordedMap, day_of
from streams.connect.sinks.moves.clickhouse import ClickHouseMoves
from streams.connect.sinks.moves.notes import MoveOrder
from streams.connect.sinks.shard_maps import KnownMaps
from streams.connect.sinks.sharding import HashSharding, ShardMap, WithoutShards
from streams.core.clock import SystemClock
from streams.core.settings import Settings
from streams.operate.shards.mover import MoveMeans, MoveOptions, Mover

URLS = ("http://a:1", "http://b:1", "http://c:1")
SETTINGS = Settings(clickhouse_shards=",".join(URLS))
DAY = day_of(datetime.now(UTC).date() - timedelta(days=5))
FIRST = MapRecord.of(ShardMap(3, HashSharding(3)), [[url] for url in URLS])
MOVE = MapRecord.of(
    ShardMap(3, WithoutShards(3, HashSharding(3), (2,))),
    FIRST.urls,
    version=2,
    first_day=DAY,
    last_day=DAY,
)
COPY_ROWS = 5


class DeadError(Exception):
    """The process of the mover."""


class Servers:
    """``states``: what each records; ``views``: the state by which its views were made."""

    def __init__(self, monkeypatch, state):
        self.states = dict.fromkeys(URLS, state)
        self.views = dict.fromkeys(URLS, state)
        self.copies = True
        self.calls_left = None
        monkeypatch.setattr(schema, "servers", lambda settings, tables, known=None: self._servers())

    def _told(self):
        states = {DAY: self.states[URLS[0]]}
        maps = (RecordedMap(FIRST, in_force=True), RecordedMap(MOVE, in_force=True, states=states))
        return KnownMaps(maps, FIRST.urls, recorded=True)

    def _servers(self):
        return [
            schema.Server(number, self._replica(url), self._migrator(url))
            for number, url in enumerate(URLS)
        ]

    def _change(self):
        if self.calls_left == 0:
            raise DeadError
        if self.calls_left is not None:
            self.calls_left -= 1

    def _replica(self, url):
        def query(sql):
            if sql == map_record.READ_DAYS:
                return (), [(MOVE.version, DAY, int(self.states[url]))]
            if sql.lstrip().startswith("SELECT toUInt32"):
                return (), []  # no row leaves this shard
            return (), [(COPY_ROWS if self.copies else 0,)]

        def command(sql, values=None):
            self._change()
            if sql == map_record.WRITE_DAY:
                self.states[url] = max(self.states[url], DayState(values["state"]))
            elif "DELETE" in sql and "moved >=" in sql:
                self.copies = False

        return SimpleNamespace(url=url, query=query, command=command, close=lambda: None)

    def _migrator(self, url):
        def apply():
            self._change()
            self.views[url] = self._told().maps[1].state(DAY)

        return SimpleNamespace(apply=apply)

    def run(self, work, calls=None):
        self.calls_left = calls
        means = MoveMeans(
            taken=lambda: None,
            check=lambda: None,
            say=lambda _: None,
            sleep=lambda _: None,
            clock=SystemClock(),
            retention_days=30,
            order=MoveOrder,
            told=lambda _: None,
        )
        store = ClickHouseMoves(SETTINGS, {}, self._told(), MOVE.version)
        work(Mover(store, MoveOptions(), means))


@pytest.mark.parametrize(
    ("begun", "work", "end"),
    [
        (DayState.SHOWN, Mover.give_up, DayState.RETURNED),
        (DayState.SHOWN, Mover.run, DayState.DONE),
    ],
    ids=["given up", "moved"],
)
def test_every_server_knows_the_end_of_a_day_whose_mover_died(monkeypatch, begun, work, end):
    """A server that was left behind shows copies that are deleted, or says for ever that the day moves."""
    for calls in range(30):
        servers = Servers(monkeypatch, begun)
        died = False
        try:
            servers.run(work, calls)
        except DeadError:
            died = True
        if not died:
            break
        servers.run(work)
        assert set(servers.states.values()) == {end}, calls
        shown = {state in map_record.SHOWN for state in servers.views.values()}
        assert shown == {end in map_record.SHOWN}, calls
    assert not died


def test_a_mover_that_leaves_servers_behind_is_found(monkeypatch):
    """The law has to be able to fail."""

    def cleared(self, day, state):
        if state == DayState.RETURNED:
            self._clear(day)

    monkeypatch.setattr(Mover, "_end", cleared)
    with pytest.raises(AssertionError):
        test_every_server_knows_the_end_of_a_day_whose_mover_died(
            monkeypatch, DayState.SHOWN, Mover.give_up, DayState.RETURNED
        )
