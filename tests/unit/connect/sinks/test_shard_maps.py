"""Shard maps recorded on the servers, read from one server after another."""

from __future__ import annotations

from types import SimpleNamespace

import msgspec
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from streams.connect.sinks import map_record, schema, shard_claim, shard_maps
from streams.connect.sinks.clickhouse import ClickHouseShards, shard_replicas
from streams.connect.sinks.map_record import DayState, MapRecord
from streams.connect.sinks.minutes import BREAKER, MinuteReader
from streams.connect.sinks.replica import UNKNOWN_TABLE, Replica
from streams.connect.sinks.sharding import HashSharding, ShardMap
from streams.core.clock import VirtualClock
from streams.core.errors import BreakerOpen, ShardUnavailable
from streams.core.settings import Settings
from streams.core.telemetry.metrics import Metrics

URLS = ("http://a:1", "http://b:1")
TWO = Settings(clickhouse_shards=",".join(URLS))
MAP = ShardMap(2, HashSharding(2))
RECORD = MapRecord.of(MAP, [[url] for url in URLS])
BROKEN_PART = 40


ALL_URLS = (*URLS, "http://c:1")
LATER = MapRecord.of(
    ShardMap(3, HashSharding(3)), [[url] for url in ALL_URLS], version=2, first_day=9
)
MOVED_DAY = 5
MOVE = MapRecord.of(LATER.shard_map, LATER.urls, version=3, first_day=MOVED_DAY, last_day=MOVED_DAY)


class _Server:
    """A server that claims its shard; those of ``refusing`` cannot read their table of maps. Of
    ``announced``, the later map is there and not in force; of ``grown``, it is in force."""

    refusing = frozenset(URLS[:1])
    announced: frozenset[str] = frozenset()
    grown: frozenset[str] = frozenset()
    silent: frozenset[str] = frozenset()
    """they do not say their maps in time; the next request may succeed"""
    empty: frozenset[str] = frozenset()
    """they have no tables: not migrated, or with a new disk"""
    moved: DayState | None = None
    """on servers with the later map: the state of the day of a move"""

    def __init__(self, replica):
        self._url = replica.url

    def query(self, sql, **_):
        if sql == shard_claim.READ:
            claim = (ALL_URLS.index(self._url), MAP.identity.digest, "2 shards by hash")
            return SimpleNamespace(column_names=(), result_rows=[claim])
        if "sumMap" in sql:
            return SimpleNamespace(column_names=(), result_rows=[])
        if sql == map_record.READ_DAYS:
            return SimpleNamespace(column_names=(), result_rows=[(3, MOVED_DAY, int(self.moved))])
        assert sql == map_record.READ
        if self._url in self.refusing:
            error = DatabaseError("CHECKSUM_DOESNT_MATCH")
            error.code = BROKEN_PART
            raise error
        if self._url in self.silent:
            raise OSError("timed out")
        if self._url in self.empty:
            error = DatabaseError("UNKNOWN_TABLE")
            error.code = UNKNOWN_TABLE[0]
            raise error
        rows = [(msgspec.json.encode(RECORD).decode(), 1)]
        if self._url in self.announced | self.grown:
            rows.append((msgspec.json.encode(LATER).decode(), int(self._url in self.grown)))
            if self.moved is not None:
                rows.append((msgspec.json.encode(MOVE).decode(), 1))
        return SimpleNamespace(column_names=(), result_rows=rows)

    def close(self):
        pass


@pytest.fixture(autouse=True)
def _servers(monkeypatch):
    monkeypatch.setattr(Replica, "_connect", lambda replica, database: _Server(replica))


async def test_a_server_that_cannot_read_its_maps_is_skipped():
    """One broken disk must not end every worker, since the other shards accept rows."""
    assert shard_maps.look(TWO).recorded
    shards = ClickHouseShards(TWO, VirtualClock(), {})
    for _ in range(2):  # > the first read is without claims
        await shards.learn()
        assert shards.confirmed
    await shards.close()


async def test_a_reader_does_not_answer_where_no_server_says_its_maps(monkeypatch):
    """By the map of its settings it would leave out the rows of an added shard, in silence."""
    monkeypatch.setattr(_Server, "refusing", frozenset(URLS))
    assert not shard_maps.look(TWO).recorded  # a worker goes on, and keeps its rows
    with pytest.raises(ShardUnavailable, match=r"left out.*http://b:1.*CHECKSUM"):
        shard_replicas(TWO)
    live = shard_maps.LiveMaps(TWO, VirtualClock())
    with pytest.raises(ShardUnavailable, match="left out"):
        await live.fresh()
    live.close()


ALL = frozenset(ALL_URLS)


@pytest.fixture
def moving(monkeypatch):
    """Three servers, on which a day is moving."""
    monkeypatch.setattr(_Server, "refusing", frozenset())
    monkeypatch.setattr(_Server, "grown", ALL)
    monkeypatch.setattr(_Server, "moved", DayState.COPYING)
    return monkeypatch


async def test_a_reader_takes_no_knowledge_older_than_its_bound(moving):
    """The originals of a moved day are deleted once each reader is to know that its copies count: one
    that missed it would count neither."""
    clock = VirtualClock()
    live = shard_maps.LiveMaps(TWO, clock)
    assert not (await live.fresh()).maps[2].shown
    moving.setattr(_Server, "moved", DayState.DONE)
    moving.setattr(_Server, "silent", ALL)
    for _ in range(3):
        await clock.advance(shard_maps.READ_AGE_S)
        with pytest.raises(ShardUnavailable, match="no server says"):
            await live.fresh()
    moving.setattr(_Server, "silent", frozenset())
    await clock.advance(shard_maps.READ_AGE_S)
    assert (await live.fresh()).maps[2].shown == [MOVED_DAY]
    live.close()


async def test_a_question_by_old_knowledge_fails_and_its_breaker_counts_it(moving):
    """An open breaker pauses jobs that read minutes; without it each attempt would be spent."""
    clock = VirtualClock()
    minutes = MinuteReader(TWO, clock, Metrics())
    assert await minutes.read("t", "m", "x", 0, 60) == []
    moving.setattr(_Server, "silent", ALL)
    await clock.advance(shard_maps.READ_AGE_S)
    for _ in range(BREAKER.failures):
        with pytest.raises(ShardUnavailable, match="no server says"):
            await minutes.read("t", "m", "x", 0, 60)
    with pytest.raises(BreakerOpen):
        await minutes.read("t", "m", "x", 0, 60)
    await minutes.close()


async def test_questions_do_not_queue_for_servers_that_are_away(moving):
    """Each attempt may take seconds of each server, and a page of the console asks many questions."""
    moving.setattr(_Server, "silent", ALL)
    asked = []
    ask = shard_maps.recorded_at
    moving.setattr(shard_maps, "recorded_at", lambda replica: asked.append(1) or ask(replica))
    live = shard_maps.LiveMaps(TWO, VirtualClock())
    for _ in range(3):
        with pytest.raises(ShardUnavailable):
            await live.fresh()
    assert len(asked) == len(URLS)
    live.close()


async def test_a_server_with_a_new_disk_does_not_keep_a_reader_from_what_others_record(moving):
    """It answers that it has no maps, for as long as it is not restored."""
    clock = VirtualClock()
    live = shard_maps.LiveMaps(TWO, clock)
    await live.fresh()
    moving.setattr(_Server, "moved", DayState.DONE)
    moving.setattr(_Server, "empty", frozenset(URLS[:1]))
    await clock.advance(shard_maps.READ_AGE_S)
    assert (await live.fresh()).maps[2].shown == [MOVED_DAY]
    moving.setattr(_Server, "empty", ALL)
    await clock.advance(shard_maps.READ_AGE_S)
    with pytest.raises(ShardUnavailable, match="record 0 shard maps, and 3 were in force"):
        await live.fresh()
    live.close()


def test_views_are_not_made_by_the_settings_where_no_server_says_its_maps(moving):
    """`dia migrate apply` while servers start would leave out added shards, and count the rows of moved
    days twice, until it runs again."""
    moving.setattr(_Server, "silent", ALL)
    for ask in (shard_maps.told, lambda settings: schema.servers(settings, {})):
        with pytest.raises(ShardUnavailable, match="no server says"):
            ask(TWO)
    moving.setattr(_Server, "silent", ALL - set(URLS[1:]))
    assert len(schema.servers(TWO, {})) == len(ALL)
    moving.setattr(_Server, "empty", ALL)
    moving.setattr(_Server, "silent", frozenset())
    assert len(schema.servers(TWO, {})) == len(URLS)  # the first `dia migrate apply`


async def test_a_map_is_in_force_where_one_server_says_so(monkeypatch):
    """The order that put it in force broke off; a partition that took it must open elsewhere, too."""
    monkeypatch.setattr(_Server, "refusing", frozenset())
    monkeypatch.setattr(_Server, "announced", frozenset(URLS[:1]))
    monkeypatch.setattr(_Server, "grown", frozenset(URLS[1:]))
    assert len(shard_maps.look(TWO).in_force) == 2
    shards = ClickHouseShards(TWO, VirtualClock(), {})
    for _ in range(2):
        await shards.learn()
        assert len(shards.maps) == 2
    await shards.close()


def test_a_command_waits_for_servers_that_have_just_started(moving):
    """Their first answer takes longer than a reader waits; `dia up` begins with this question."""
    asked = []

    def recorded_at(replica):
        asked.append(replica._timeout_s)
        if replica._timeout_s <= shard_maps.ANSWER_S:
            raise ShardUnavailable("timed out")
        return map_record.read([(msgspec.json.encode(RECORD).decode(), 1)])

    moving.setattr(shard_maps, "recorded_at", recorded_at)
    assert shard_maps.told(TWO).recorded
    assert asked == [shard_maps.ANSWER_S, shard_maps.ANSWER_S, TWO.sink_timeout_s]


async def test_who_would_act_wrongly_by_older_maps_is_told_that_no_server_says_them(moving):
    """A worker goes on by what it knows; a row that is returned could lie where it does not count."""
    shards = ClickHouseShards(TWO, VirtualClock(), {})
    for _ in range(2):  # before and after the servers said them once
        moving.setattr(_Server, "silent", ALL)
        await shards.learn()
        with pytest.raises(ShardUnavailable, match="no ClickHouse server"):
            await shards.learn(certain=True)
        moving.setattr(_Server, "silent", frozenset())
        await shards.learn(certain=True)
        assert len(shards.maps) == 3
    await shards.close()
