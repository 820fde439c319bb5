"""Shard maps recorded on the servers, read from one server after another."""

from __future__ import annotations

from types import SimpleNamespace

import msgspec
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from streams.connect.sinks import map_record, shard_claim, shard_maps
from streams.connect.sinks.clickhouse import ClickHouseShards
from streams.connect.sinks.map_record import MapRecord
from streams.connect.sinks.replica import Replica
from streams.connect.sinks.sharding import HashSharding, ShardMap
from streams.core.clock import VirtualClock
from streams.core.settings import Settings

URLS = ("http://a:1", "http://b:1")
TWO = Settings(clickhouse_shards=",".join(URLS))
MAP = ShardMap(2, HashSharding(2))
RECORD = MapRecord.of(MAP, [[url] for url in URLS])
BROKEN_PART = 40


class _Server:
    """A server that claims its shard; the first address cannot read its table of maps."""

    def __init__(self, replica):
        self._url = replica.url

    def query(self, sql, **_):
        if sql == shard_claim.READ:
            claim = (URLS.index(self._url), MAP.identity.digest, "2 shards by hash")
            return SimpleNamespace(column_names=(), result_rows=[claim])
        assert sql == map_record.READ
        if self._url == URLS[0]:
            error = DatabaseError("CHECKSUM_DOESNT_MATCH")
            error.code = BROKEN_PART
            raise error
        row = (msgspec.json.encode(RECORD).decode(), 1)
        return SimpleNamespace(column_names=(), result_rows=[row])

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
