"""Every server of every shard, with its `Migrator`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from streams.connect.sinks import sharding
from streams.connect.sinks.clickhouse import shard_replicas
from streams.connect.sinks.migration import Migrator, variables
from streams.connect.sinks.replica import Replica
from streams.connect.sinks.shard_claim import ShardPlace
from streams.connect.sinks.view_source import ViewSource, collections
from streams.core.rows.clickhouse_table import ClickHouseTable
from streams.core.settings import Settings


@dataclass(frozen=True, slots=True)
class Server:
    """Close it after use."""

    shard: int
    replica: Replica
    migrator: Migrator


def servers(settings: Settings, tables: Mapping[str, ClickHouseTable]) -> list[Server]:
    """In the order of ``DIA_CLICKHOUSE_SHARDS``. Opens no connection."""
    groups = settings.shards()
    return [
        Server(shard, replica, _migrator(settings, tables, groups, shard, replica))
        for shard, found in enumerate(shard_replicas(settings))
        for replica in found
    ]


def _migrator(
    settings: Settings,
    tables: Mapping[str, ClickHouseTable],
    groups: list[list[str]],
    shard: int,
    replica: Replica,
) -> Migrator:
    cluster = settings.clickhouse_cluster
    sisters = {} if cluster else {i: urls[0] for i, urls in enumerate(groups) if i != shard}
    source = ViewSource(
        database=settings.clickhouse_database, cluster=cluster, sisters=sisters, tables=tables
    )
    values = variables(
        source, m1_retention_days=settings.m1_retention_days, replicated=bool(cluster)
    )
    secrets = collections(sisters, settings.clickhouse_user, settings.clickhouse_password())
    place = ShardPlace(shard, sharding.declared(settings).identity)
    return Migrator(replica, source, values, secrets, place)
