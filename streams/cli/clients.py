"""Clients of a command: the broker, the ClickHouse shards, Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from streams.connect.broker.opened import opened
from streams.core.errors import DependencyUnreachable

if TYPE_CHECKING:
    from streams.connect.cache.redis import RedisShared
    from streams.core.rows.built_in_tables import ShardSet
    from streams.core.settings import Settings
    from streams.core.topics.topology import Topology
    from streams.core.types import Admin, Broker, LogReader


def broker_of(settings: Settings) -> Broker:
    """Raises `DependencyUnreachable` without an address."""
    from streams.connect.broker.kafka.broker import KafkaBroker

    require_address(settings)
    return KafkaBroker.from_settings(settings)


@asynccontextmanager
async def admin_and_reader(settings: Settings) -> AsyncIterator[tuple[Admin, LogReader]]:
    """Raises `DependencyUnreachable` without an address, and `BrokerUnavailable`."""
    broker = broker_of(settings)
    async with opened(broker.admin()) as admin, opened(broker.reader()) as reader:
        yield admin, reader


def require_address(settings: Settings) -> None:
    """Raises `DependencyUnreachable` without an address."""
    if not settings.kafka_bootstrap:
        raise DependencyUnreachable(
            "no Kafka address is known. Start the local stack with `dia up`, or set "
            "DIA_KAFKA_BOOTSTRAP=host:port."
        )


async def shards_of(settings: Settings, topology: Topology) -> ShardSet | None:
    """With the maps that the servers record. None without a configured shard: the journal keeps the
    rows for later. Raises `ShardMapChanged`."""
    from streams.connect.sinks.clickhouse import ClickHouseShards
    from streams.core.clock import SystemClock

    if not settings.shards():
        return None
    shards = ClickHouseShards.from_settings(settings, SystemClock(), topology.targets.tables)
    await shards.learn()
    return shards


@asynccontextmanager
async def redis_of(settings: Settings, without: str = "") -> AsyncIterator[RedisShared]:
    """Raises `CacheUnavailable` without an address; ``without`` is what then happens."""
    from streams.connect.cache.redis import RedisShared, connect
    from streams.core.errors import CacheUnavailable

    if not settings.redis_url:
        raise CacheUnavailable(
            "no Redis address is known. Start the local stack with `dia up`, or set DIA_REDIS_URL."
            + without
        )
    client = connect(settings.redis_url, settings.redis_timeout_s, **settings.redis_options())
    shared = RedisShared(client)
    try:
        yield shared
    finally:
        await shared.close()
