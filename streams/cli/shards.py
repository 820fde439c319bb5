"""The ClickHouse shards a command writes to."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streams.rows import ShardSet
    from streams.settings import Settings
    from streams.topology import Topology


def shards_of(settings: Settings, topology: Topology) -> ShardSet | None:
    """None when no shard is known: what they shall show waits in the journal."""
    from streams.clock import SystemClock
    from streams.sinks.clickhouse import ClickHouseShards

    if not settings.shards():
        return None
    return ClickHouseShards.from_settings(settings, SystemClock(), topology.targets.tables)
