"""The shards that a command asks."""

from __future__ import annotations

from types import SimpleNamespace

import msgspec

from streams.connect.sinks import map_record, shard_claim
from streams.connect.sinks.map_record import MapRecord
from streams.connect.sinks.replica import Replica
from streams.connect.sinks.sharding import HashSharding, ShardMap
from streams.core.settings import Settings
from streams.operate.shard_answers import EveryShard

URLS = ("http://a:1", "http://b:1", "http://c:1")
FIRST = MapRecord.of(ShardMap(2, HashSharding(2)), [[url] for url in URLS[:2]])
SECOND = MapRecord.of(
    ShardMap(3, HashSharding(3)), [[url] for url in URLS], version=2, first_day=20_000
)


async def test_a_shard_that_was_added_since_the_command_began_is_asked(monkeypatch):
    """An audit may run over the midnight at which rows of an added shard begin."""
    maps = [FIRST]

    def query(url, sql):
        if sql == shard_claim.READ:
            rows = [(URLS.index(url), FIRST.shard_map.identity.digest, "2 shards by hash")]
        elif sql == map_record.READ:
            rows = [(msgspec.json.encode(one).decode(), 1) for one in maps]
        else:
            rows = [(url,)]
        return SimpleNamespace(column_names=(), result_rows=rows)

    def connect(replica, database):
        return SimpleNamespace(query=lambda sql, **_: query(replica.url, sql), close=lambda: None)

    monkeypatch.setattr(Replica, "_connect", connect)
    shards = EveryShard(Settings(clickhouse_shards=",".join(URLS[:2])), "audit")
    maps.append(SECOND)
    assert await shards.ask("SELECT 1", {}) == [[(url,)] for url in URLS]
    shards.close()
