"""Shards that acknowledge at once and store nothing: the cost of a worker without ClickHouse. Only
`streams.dev.bench.worker` can use it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from streams.connect.sinks import sharding
from streams.core.clock import Clock
from streams.core.rows.built_in_tables import Bucket, Rows
from streams.core.rows.clickhouse_table import ClickHouseTable
from streams.core.rows.dated_map import DatedMap, MapIdentity
from streams.core.settings import Settings


@dataclass(eq=False)
class NullShards:
    """Implements `streams.core.rows.built_in_tables.ShardSet`; places rows as the real one."""

    _count: int
    _map: sharding.ShardMap
    _tables: Mapping[str, ClickHouseTable]

    @classmethod
    def from_settings(
        cls, settings: Settings, clock: Clock, tables: Mapping[str, ClickHouseTable]
    ) -> NullShards:
        """As many shards as in ``DIA_CLICKHOUSE_SHARDS``."""
        return cls(len(settings.shards()), sharding.declared(settings), tables)

    @property
    def count(self) -> int:
        return self._count

    @property
    def tables(self) -> Mapping[str, ClickHouseTable]:
        return self._tables

    @property
    def identity(self) -> MapIdentity:
        return self._map.identity

    @property
    def confirmed(self) -> bool:
        return True

    @property
    def maps(self) -> Sequence[DatedMap]:
        return (self._map.dated(),)

    async def learn(self, *, certain: bool = False) -> None:
        return

    def shard_of_key(self, key: str) -> int:
        return self._map.shard_of_key(key)

    async def insert(self, shard: int, chunks: Sequence[Rows]) -> None:
        return

    async def ping(self, shard: int) -> None:
        return

    async def roll_up(self, shard: int, table: Bucket, start_s: int) -> None:
        return

    async def close(self) -> None:
        return
