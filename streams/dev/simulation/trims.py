"""A broker that reports every trim of a log in advance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from streams.connect.broker.memory.admin import MemoryAdmin
from streams.connect.broker.memory.broker import MemoryBroker
from streams.connect.broker.memory.cluster import Cluster
from streams.core.types import TopicPartition


class TrimWatcher(Protocol):
    def trimming(self, log: TopicPartition, before: int) -> None: ...


class WatchedBroker(MemoryBroker):
    trim_watcher: TrimWatcher | None = None

    async def admin(self) -> MemoryAdmin:
        return _WatchedAdmin(self._cluster, self.trim_watcher)


class _WatchedAdmin(MemoryAdmin):
    def __init__(self, cluster: Cluster, watcher: TrimWatcher | None) -> None:
        super().__init__(cluster)
        self._watcher = watcher

    async def delete_records(self, before: Mapping[TopicPartition, int]) -> None:
        if self._watcher is not None:
            for log, offset in before.items():
                self._watcher.trimming(log, offset)
        await super().delete_records(before)
