"""Readers whose settings name a later shard map, while the servers claim the first one."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from clickhouse_connect.driver import httputil

from streams.connect.sinks import shard_claim, shard_maps
from streams.connect.sinks.clickhouse import ClickHouseShards
from streams.connect.sinks.map_record import MapRecord, RecordedMap
from streams.connect.sinks.minutes import MinuteReader
from streams.connect.sinks.replica import Replica
from streams.connect.sinks.series import SeriesQuery
from streams.connect.sinks.sharding import HashSharding, ShardMap
from streams.connect.sinks.window_views.series_view import SeriesReading
from streams.core.clock import VirtualClock
from streams.core.settings import Settings
from streams.core.telemetry.metrics import Metrics
from streams.http.console.shards import ShardReader

URLS = ("http://a:1", "http://b:1", "http://c:1")
FIRST, SECOND = (ShardMap(count, HashSharding(count)) for count in (2, 3))
RECORD = [
    RecordedMap(MapRecord.of(FIRST, [[url] for url in URLS[:2]]), in_force=True),
    RecordedMap(
        MapRecord.of(SECOND, [[url] for url in URLS], version=2, first_day=20_000), in_force=True
    ),
]


class _Answers:
    """A server that claims its shard of the first map, and has no windows."""

    def __init__(self, replica):
        self._claim = (URLS.index(replica.url), FIRST.identity.digest, "2 shards by hash")

    def query(self, sql, **_):
        rows = [self._claim] if sql == shard_claim.READ else []
        return SimpleNamespace(column_names=(), result_rows=rows)

    def close(self):
        pass


@pytest.fixture
def settings(monkeypatch):
    monkeypatch.setattr(Replica, "_connect", lambda replica, database: _Answers(replica))
    monkeypatch.setattr(shard_maps, "_best_record", lambda settings, strict=False: (RECORD, None))
    return Settings(clickhouse_shards=",".join(URLS))


async def test_the_console_reads(settings):
    """An operator changes the settings once the map is in force."""
    reader = ShardReader(settings, VirtualClock(), Metrics())
    query = SeriesQuery(tenant="t", model="m", metric="x", start_s=0, stop_s=3600, step_s=60)
    assert (await reader.of_windows(SeriesReading(query, "m1"))).rows == []
    assert await reader.of_all("SELECT 2", {}) == []
    await reader.close()


async def test_jobs_read_the_recent_minutes(settings):
    """Their worker has the same settings as the console."""
    reader = MinuteReader(settings, VirtualClock(), Metrics())
    assert await reader.read("t", "m", "x", 0, 60) == []
    await reader.close()


async def test_the_next_question_opens_no_other_connections(settings):
    """The client library keeps the pool of a connection until it is closed."""
    console = ShardReader(settings, VirtualClock(), Metrics())
    minutes = MinuteReader(settings, VirtualClock(), Metrics())
    before = set()
    for _ in range(2):
        before = set(httputil.all_managers)
        await console.of_all("SELECT 2", {})
        await minutes.read("t", "m", "x", 0, 60)
    assert set(httputil.all_managers) == before
    await console.close()
    await minutes.close()


async def test_a_worker_that_looks_for_maps_opens_no_other_connections(settings, monkeypatch):
    """The worker looks every 5 s."""
    others = set(httputil.all_managers)
    shards = ClickHouseShards(settings, VirtualClock(), {})
    await shards.learn()
    monkeypatch.setattr(shard_maps, "recorded_at", lambda replica: RECORD)
    before = set(httputil.all_managers)
    await shards.learn()
    assert set(httputil.all_managers) == before
    await shards.close()
    assert set(httputil.all_managers) == others
