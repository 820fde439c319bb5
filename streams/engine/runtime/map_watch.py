"""Looks for new shard maps while a worker runs (docs/protocols/shard_maps.md, D5 and D6)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog

from streams.core.clock import Clock
from streams.core.errors import TransientError
from streams.core.rows.built_in_tables import ShardSet
from streams.engine.runtime.group import GroupMember

LOOK_S = 5.0

log = structlog.get_logger(__name__)


class MapWatch:
    """``grown`` is called when the set has more shards, before a partition uses one of them."""

    def __init__(
        self,
        shards: ShardSet,
        clock: Clock,
        groups: Sequence[GroupMember],
        grown: Callable[[], None],
    ) -> None:
        self._shards = shards
        self._clock = clock
        self._groups = groups
        self._grown = grown
        self._logged = len(shards.maps)

    async def run(self) -> None:
        """Raises `ShardMapChanged`."""
        while True:
            await self._clock.sleep(LOOK_S)
            try:
                await self.look()
            except TransientError as error:
                log.info("shard_maps_unavailable", code=error.code, why=str(error))

    async def look(self) -> None:
        """Raises `ShardMapChanged` and `TransientError`."""
        await self._shards.learn()
        maps = self._shards.maps
        self._grown()
        if len(maps) > self._logged:
            self._logged, newest = len(maps), maps[-1]
            log.info("shard_map_new", map=newest.identity.description, first_day=newest.first_day)
        for group in self._groups:
            for held in group.partitions.values():
                partition = held.partition
                if partition is not None and partition.lacks_maps(maps):
                    partition.take_maps(maps)
