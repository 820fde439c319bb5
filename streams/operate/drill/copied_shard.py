"""The shards as a rebuild of a drill sees them: one of them is a copy, the others are not written."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial

from streams.connect.sinks.clickhouse import insert_rows, recompute
from streams.connect.sinks.replica import Replica
from streams.core.rows.built_in_tables import Bucket, Rows, ShardSet
from streams.core.rows.clickhouse_table import ClickHouseTable
from streams.core.rows.dated_map import DatedMap, MapIdentity


class CopiedShard:
    """`ShardSet` documents the methods. ``copy`` is connected to the scratch database."""

    def __init__(self, live: ShardSet, shard: int, copy: Replica) -> None:
        self._live = live
        self._shard = shard
        self._copy = copy
        self.foreign = 0
        """rows that a rebuild would write to other shards"""

    @property
    def count(self) -> int:
        return self._live.count

    @property
    def tables(self) -> Mapping[str, ClickHouseTable]:
        return self._live.tables

    @property
    def identity(self) -> MapIdentity:
        return self._live.identity

    @property
    def maps(self) -> Sequence[DatedMap]:
        return self._live.maps

    @property
    def confirmed(self) -> bool:
        return self._live.confirmed

    async def learn(self, *, certain: bool = False) -> None:
        await self._live.learn(certain=certain)

    def shard_of_key(self, key: str) -> int:
        return self._live.shard_of_key(key)

    async def insert(self, shard: int, chunks: Sequence[Rows]) -> None:
        filled = [chunk for chunk in chunks if len(chunk)]
        if shard != self._shard:
            self.foreign += sum(map(len, filled))
        elif filled:
            await asyncio.to_thread(insert_rows, filled, self._copy)

    async def roll_up(self, shard: int, table: Bucket, start_s: int) -> None:
        if shard == self._shard:
            work = partial(recompute, table, start_s, replicated=False)
            await asyncio.to_thread(work, self._copy)

    async def ping(self, shard: int) -> None:
        await self._live.ping(shard)

    async def close(self) -> None:
        await self._live.close()
