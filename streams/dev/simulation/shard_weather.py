"""What goes wrong with servers of ClickHouse: replicas lag, go away and die; maps are mistaken.

A replica dies only while all others answer, so that a majority that holds a row loses one holder at
a time and the one that takes its place has copied what is left. A process with another shard map is
one that a user started with wrong settings: it must end by itself, whatever it met before.
"""

from __future__ import annotations

import asyncio
import random

from streams.connect.sinks.memory_replica import catch_up
from streams.connect.sinks.sharding import DirectorySharding, HashSharding, ShardMap
from streams.core.errors import ShardMapChanged
from streams.dev.simulation.difference import Difference
from streams.dev.simulation.world import Process, World

STRIKES = 0.25
"""of the steps"""
MISTAKEN_HOST = "mistaken"
OTHER_MAPS = (
    ShardMap(1, HashSharding(1)),
    ShardMap(3, HashSharding(3)),
    ShardMap(2, DirectorySharding({"t0": 1, "t1": 0}, HashSharding(2))),
)


class ShardWeather:
    """Strikes the shards of ``world``; `clear` ends everything that lasts."""

    def __init__(self, world: World, rng: random.Random) -> None:
        self._world = world
        self._rng = rng
        self._mistaken: Process | None = None

    async def strike(self) -> None:
        """One fault now and then; none of replicas where there are none."""
        if self._rng.random() >= STRIKES:
            return
        if self._rng.random() < 0.2:
            await self._mistake()
        elif self._world.replicas > 1:
            self._harm_a_replica()

    async def clear(self) -> None:
        """Every replica has every row again, and the mistaken process is gone.

        Raises `Difference` where it would not end by itself.
        """
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
            # The one that takes rows first, and may be the only one that has them.
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
        if failure is not None and not _refused(failure):
            raise Difference(f"a process with another shard map ended by {failure!r}")


def _refused(failure: BaseException) -> bool:
    if isinstance(failure, BaseExceptionGroup):
        return all(_refused(one) for one in failure.exceptions)
    return isinstance(failure, ShardMapChanged)
