"""Every server of every shard, with its `Migrator`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from streams.connect.sinks import shard_maps
from streams.connect.sinks.clickhouse import shard_replicas
from streams.connect.sinks.migration import Migrator, variables
from streams.connect.sinks.moved_rows import counted_in
from streams.connect.sinks.replica import Replica
from streams.connect.sinks.shard_claim import ShardPlace
from streams.connect.sinks.shard_maps import KnownMaps
from streams.connect.sinks.view_source import ViewSource, collections
from streams.core.rows.clickhouse_table import ClickHouseTable
from streams.core.settings import Settings


@dataclass(frozen=True, slots=True)
class Server:
    """Close it after use."""

    shard: int
    replica: Replica
    migrator: Migrator


def servers(
    settings: Settings, tables: Mapping[str, ClickHouseTable], known: KnownMaps | None = None
) -> list[Server]:
    """In the order of the shards of ``known``, for the declared ``tables``. ``known`` None: as the
    servers say, which blocks. Raises `ShardMapChanged`."""
    if not settings.shards():
        return []
    found = known or shard_maps.told(settings)
    return [
        Server(shard, replica, _migrator(settings, tables, found, shard, replica))
        for shard, replicas in enumerate(shard_replicas(settings, found))
        for replica in replicas
    ]


def _migrator(
    settings: Settings,
    tables: Mapping[str, ClickHouseTable],
    known: KnownMaps,
    shard: int,
    replica: Replica,
) -> Migrator:
    cluster = settings.clickhouse_cluster
    sisters = {} if cluster else {i: urls[0] for i, urls in enumerate(known.urls) if i != shard}
    source = ViewSource(
        database=settings.clickhouse_database,
        cluster=cluster,
        sisters=sisters,
        tables=tables,
        shard=shard,
        counted=partial(counted_in, known, tables),
    )
    values = variables(
        source, m1_retention_days=settings.m1_retention_days, replicated=bool(cluster)
    )
    secrets = collections(sisters, settings.clickhouse_user, settings.clickhouse_password())
    place = ShardPlace(shard, known.identity)
    return Migrator(replica, source, values, secrets, place, known.maps)
