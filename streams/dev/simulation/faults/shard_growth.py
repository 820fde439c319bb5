"""Shards are added in mid-run, around a midnight.

A map's planned day may be today: an operator cannot order that, but a partition may learn of a map
as late. Each process learns of it by itself.
"""

from __future__ import annotations

import random

from streams.dev.simulation.world import World

_DAY_MS = 86_400_000
_GROWTHS = 2
_BEFORE_MIDNIGHT_S = (4, 25)


def shortly_before_midnight(rng: random.Random, start_ms: int) -> int:
    """The end of the day of ``start_ms``, so that a run passes midnight."""
    midnight_ms = (start_ms // _DAY_MS + 1) * _DAY_MS
    return midnight_ms - 1000 * rng.randint(*_BEFORE_MIDNIGHT_S)


class ShardGrowth:
    def __init__(self, world: World, rng: random.Random, steps: int) -> None:
        self._world = world
        self._rng = rng
        self._steps = frozenset(rng.sample(range(steps), _GROWTHS))

    def strike(self, step: int) -> None:
        if step in self._steps:
            today = self._world.clock.now_ms() // _DAY_MS
            last = self._world.shards.maps[-1].first_day
            self._world.shards.add_shard(max(last, today + self._rng.choice((0, 0, 1))))
