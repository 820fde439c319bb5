"""The ClickHouse shards of a command."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streams.core.rows.built_in_tables import ShardSet
    from streams.core.settings import Settings
    from streams.core.topics.topology import Topology


def shards_of(settings: Settings, topology: Topology) -> ShardSet | None:
    """None without a configured shard: the journal keeps the rows for later."""
    from streams.connect.sinks.clickhouse import ClickHouseShards
    from streams.core.clock import SystemClock

    if not settings.shards():
        return None
    return ClickHouseShards.from_settings(settings, SystemClock(), topology.targets.tables)
