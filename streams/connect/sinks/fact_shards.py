"""The replicas that hold a fact, found by its key: the first shard map places facts for ever."""

from __future__ import annotations

from streams.connect.sinks.clickhouse import reading_groups
from streams.connect.sinks.replica_group import ReplicaGroup
from streams.connect.sinks.shard_maps import LiveMaps
from streams.core.clock import Clock
from streams.core.rows.dated_map import MapIdentity
from streams.core.settings import Settings


class FactShards:
    """Keeps its connections. Close it after use."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._maps = LiveMaps(settings, clock)
        self._groups: list[ReplicaGroup] = []
        self._identity: MapIdentity | None = None

    async def of_key(self, key: str) -> ReplicaGroup:
        """Raises `ShardUnavailable` without a configured shard, and `ShardMapChanged`."""
        known = await self._maps.fresh()
        if known.identity != self._identity:
            self._close_groups()
            self._groups = reading_groups(self._settings, known)
            self._identity = known.identity
        return self._groups[known.first.shard_of_key(key)]

    def close(self) -> None:
        self._maps.close()
        self._close_groups()

    def _close_groups(self) -> None:
        for group in self._groups:
            group.close()
