"""Connections to each shard of the known maps, for a process that reads (docs/protocols/shard_maps.md, Readers)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from streams.connect.sinks.clickhouse import Shard, reading_groups
from streams.connect.sinks.replica import Replica
from streams.connect.sinks.shard_maps import KnownMaps, LiveMaps
from streams.core.clock import Clock
from streams.core.errors import ShardUnavailable
from streams.core.resilience.breaker import Breaker
from streams.core.rows.dated_map import MapIdentity
from streams.core.settings import Settings

T = TypeVar("T")


class LiveShards:
    """One a reader; it keeps its connections, which grow in number with the maps. ``settings`` bound each
    question's time and each shard's connections; ``breaker`` makes that of a shard; a question waits
    ``acquire_s`` for a connection."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        breaker: Callable[[int], Breaker],
        *,
        acquire_s: float,
    ) -> None:
        self._settings = settings
        self._breaker = breaker
        self._acquire_s = acquire_s
        self._maps = LiveMaps(settings, clock)
        self._shards: list[Shard] = []
        self._identity: MapIdentity | None = None
        self.breakers: list[Breaker] = []
        if self.known is not None:
            self._connect(self.known)

    def __len__(self) -> int:
        return len(self._shards)

    @property
    def known(self) -> KnownMaps | None:
        """None without a configured shard."""
        return self._maps.known

    @property
    def behind_s(self) -> float:
        """The largest `ReplicaGroup.behind_s`: last answers may lack rows of so many seconds."""
        return max((shard.behind_s for shard in self._shards), default=0.0)

    async def fresh(self) -> KnownMaps:
        """The maps of one question. Where `LiveMaps.fresh` refuses, those of the last one, in doubt: so the
        question fails at each shard, whose breaker counts it. Raises `ShardMapChanged`, and
        `ShardUnavailable` without a configured shard."""
        try:
            known = await self._maps.fresh()
        except ShardUnavailable as error:
            if self.known is None:
                raise
            known = replace(self.known, doubt=str(error))
        self._connect(known)
        return known

    async def run(
        self, known: KnownMaps, shard: int, work: Callable[[Replica], T], deadline_s: float
    ) -> T:
        """As `Shard.run`, by the maps that `fresh` gave. Raises `ShardUnavailable` also if they are in
        doubt."""
        if known.doubt:
            raise ShardUnavailable(known.doubt)
        return await self._shards[shard].run(work, deadline_s)

    def _connect(self, known: KnownMaps) -> None:
        if known.identity != self._identity:
            # The settings name a later map, and every server claims the first one.
            for shard in self._shards:
                shard.close()
            self._shards, self._identity = [], known.identity
        begin, end = len(self._shards), len(known.urls)
        for shard in self._shards[end:]:
            shard.close()  # of a map that was withdrawn
        del self._shards[end:], self.breakers[end:]
        if begin >= end:
            return
        groups = reading_groups(self._settings, known)
        for index, group in enumerate(groups[begin:], begin):
            self._shards.append(Shard(index, group, self._settings.sink_pool_size, self._acquire_s))
        self.breakers += map(self._breaker, range(len(self.breakers), len(known.urls)))

    async def close(self) -> None:
        self._maps.close()
        for shard in self._shards:
            await asyncio.to_thread(shard.close)
