"""Faults of ClickHouse servers: replicas lag, fail and die; shard maps are wrong.

A replica dies only while all others answer, so a majority loses one holder of a row at a time. A
process with another shard map must end by itself."""

from __future__ import annotations

import asyncio
import random

from streams.connect.sinks.memory_replica import catch_up
from streams.connect.sinks.sharding import DirectorySharding, HashSharding, ShardMap
from streams.core.errors import PartitionStuck, ShardMapChanged
from streams.dev.simulation.faults.shard_growth import ShardGrowth
from streams.dev.simulation.world import Difference, Process, World, all_are

STRIKES = 0.25
"""share of the steps"""
MISTAKEN_HOST = "mistaken"
OTHER_MAPS = (
    ShardMap(1, HashSharding(1)),
    ShardMap(3, HashSharding(3)),
    ShardMap(2, DirectorySharding({"t0": 1, "t1": 0}, HashSharding(2))),
)


class ShardFaultInjector:
    def __init__(self, world: World, rng: random.Random, growth: ShardGrowth | None = None) -> None:
        self._world = world
        self._rng = rng
        self._growth = growth
        self._mistaken: Process | None = None

    async def strike(self, step: int) -> None:
        """Sometimes one fault; of replicas only where there are some."""
        if self._growth is not None:
            self._growth.strike(step)
        if self._rng.random() >= STRIKES:
            return
        if self._rng.random() < 0.2:
            await self._mistake()
        elif self._world.replicas > 1:
            self._harm_a_replica()

    async def clear(self) -> None:
        """Every replica has every row again, and the misconfigured process has ended. Raises
        `Difference` where it has not."""
        for shard in range(self._world.shards.count):
            replicas = self._world.shards.replicas(shard)
            for replica in replicas:
                replica.away = replica.lagging = False
            catch_up(replicas)
        await self._correct()

    def _harm_a_replica(self) -> None:
        replicas = self._world.shards.replicas(self._rng.randrange(self._world.shards.count))
        draw = self._rng.random()
        if draw < 0.4:
            for replica in replicas[1:]:
                replica.lagging = self._rng.random() < 0.6
        elif draw < 0.6:
            chosen = self._rng.choice(replicas)
            chosen.away = not chosen.away
        elif not any(replica.away for replica in replicas[1:]):
            # The first one takes inserts, and may hold rows alone.
            replicas[0].die()
        catch_up(replicas)

    async def _mistake(self) -> None:
        await self._correct()
        other = self._world.shards.with_map(self._rng.choice(OTHER_MAPS))
        self._mistaken = self._world.process(0, MISTAKEN_HOST, other)
        self._mistaken.start()

    async def _correct(self) -> None:
        process, self._mistaken = self._mistaken, None
        if process is None:
            return
        failure = process.failure
        await process.kill()
        await asyncio.sleep(0)
        # a client that suppresses every cancellation may end it first
        if failure is not None and not all_are(failure, ShardMapChanged, PartitionStuck):
            raise Difference(f"a process with another shard map ended by {failure!r}")
