"""Shard maps recorded on the servers, read from one server after another."""

from __future__ import annotations

from types import SimpleNamespace

import msgspec
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from streams.connect.sinks import map_record, shard_claim, shard_maps
from streams.connect.sinks.clickhouse import ClickHouseShards, shard_replicas
from streams.connect.sinks.map_record import MapRecord
from streams.connect.sinks.replica import Replica
from streams.connect.sinks.sharding import HashSharding, ShardMap
from streams.core.clock import VirtualClock
from streams.core.errors import ShardUnavailable
from streams.core.settings import Settings

URLS = ("http://a:1", "http://b:1")
TWO = Settings(clickhouse_shards=",".join(URLS))
MAP = ShardMap(2, HashSharding(2))
RECORD = MapRecord.of(MAP, [[url] for url in URLS])
BROKEN_PART = 40


LATER = MapRecord.of(
    ShardMap(3, HashSharding(3)), [*([url] for url in URLS), ["http://c:1"]], version=2, first_day=9
)


class _Server:
    """A server that claims its shard; those of ``refusing`` cannot read their table of maps. Of
    ``announced``, the later map is there and not in force; of ``grown``, it is in force."""

    refusing = frozenset(URLS[:1])
    announced: frozenset[str] = frozenset()
    grown: frozenset[str] = frozenset()

    def __init__(self, replica):
        self._url = replica.url

    def query(self, sql, **_):
        if sql == shard_claim.READ:
            claim = (URLS.index(self._url), MAP.identity.digest, "2 shards by hash")
            return SimpleNamespace(column_names=(), result_rows=[claim])
        assert sql == map_record.READ
        if self._url in self.refusing:
            error = DatabaseError("CHECKSUM_DOESNT_MATCH")
            error.code = BROKEN_PART
            raise error
        rows = [(msgspec.json.encode(RECORD).decode(), 1)]
        if self._url in self.announced | self.grown:
            rows.append((msgspec.json.encode(LATER).decode(), int(self._url in self.grown)))
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
    monkeypatch.setattr(_Server, "refusing", frozenset())
    assert (await live.fresh()).recorded
    live.close()


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
