"""The broker and the ClickHouse shards of a command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.core.errors import DependencyUnreachable

if TYPE_CHECKING:
    from streams.core.rows.built_in_tables import ShardSet
    from streams.core.settings import Settings
    from streams.core.topics.topology import Topology

if TYPE_CHECKING:
    from streams.core.settings import Settings
    from streams.core.types import Broker


def broker_of(settings: Settings) -> Broker:
    """Raises `DependencyUnreachable` without an address."""
    from streams.connect.broker.kafka.broker import KafkaBroker

    require_address(settings)
    return KafkaBroker.from_settings(settings)


def require_address(settings: Settings) -> None:
    """Raises `DependencyUnreachable` without an address."""
    if not settings.kafka_bootstrap:
        raise DependencyUnreachable(
            "no Kafka address is known. Start the local stack with `dia up`, or set "
            "DIA_KAFKA_BOOTSTRAP=host:port."
        )


def shards_of(settings: Settings, topology: Topology) -> ShardSet | None:
    """None without a configured shard: the journal keeps the rows for later."""
    from streams.connect.sinks.clickhouse import ClickHouseShards
    from streams.core.clock import SystemClock

    if not settings.shards():
        return None
    return ClickHouseShards.from_settings(settings, SystemClock(), topology.targets.tables)
