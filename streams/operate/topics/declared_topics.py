"""The topics of this installation: an app's topology with the DIA_TOPIC_* settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from streams.core.errors import UsageError
from streams.core.settings import Settings
from streams.core.topics.topic import SOURCE_MESSAGE_BYTES, UNLIMITED
from streams.core.topics.topology import Topology
from streams.core.types import BROKER_DEFAULT_REPLICATION, TopicConfig
from streams.operate.topics.topics import (
    MIN_INSYNC,
    NO_TABLES,
    PARTITIONS,
    Durability,
    TopicPlan,
    plan,
    refuse_other_apps,
    wanted_topics,
)

PARTITIONS_MAX = 10_000
_RETENTION_MAX_S = 10 * 365 * 86_400


@dataclass(frozen=True, slots=True)
class DeclaredTopics:
    """``named``: (topic, setting) whose value the settings name."""

    topology: Topology
    topics: list[TopicConfig]
    named: frozenset[tuple[str, str]]

    @property
    def partitions(self) -> dict[str, int]:
        """Of the source topics whose number the settings name."""
        return {
            source.name: source.partitions
            for source in self.topology.topics
            if (source.name, PARTITIONS) in self.named
        }

    @property
    def retention_s(self) -> dict[str, float | None]:
        """Of every source topic; None: kept for ever."""
        return {
            source.name: None if source.retention_ms == UNLIMITED else source.retention_ms / 1000
            for source in self.topology.topics
        }

    def against(
        self,
        present: Mapping[str, TopicConfig],
        tables: Mapping[str, tuple[str, ...]] = NO_TABLES,
    ) -> TopicPlan:
        """The differences from `Admin.describe_topics`; ``tables`` as in `plan`. Raises `RefusedBySafety` as
        `refuse_other_apps`."""
        refuse_other_apps(self.topology, present)
        return plan(self.topology, self.topics, present, self.named, tables)


def declared_topics(
    settings: Settings, topology: Topology, replication_factor: int | None = None
) -> DeclaredTopics:
    """``replication_factor`` takes precedence over ``settings``. Raises `UsageError` for a topic
    that is no source, and for a value out of range."""
    partitions = _by_topic(
        topology, "DIA_TOPIC_PARTITIONS", settings.topic_partitions, 1, PARTITIONS_MAX
    )
    retention_s = _by_topic(
        topology, "DIA_TOPIC_RETENTION_S", settings.topic_retention_s, UNLIMITED, _RETENTION_MAX_S
    )
    message_bytes = settings.topic_message_bytes or SOURCE_MESSAGE_BYTES
    if message_bytes < SOURCE_MESSAGE_BYTES:
        raise UsageError(
            f"DIA_TOPIC_MESSAGE_BYTES={message_bytes} is less than one event of the largest size "
            f"needs, {SOURCE_MESSAGE_BYTES}. Name at least that, or unset it."
        )
    sources = tuple(
        replace(
            source,
            partitions=partitions.get(source.name, source.partitions),
            retention_ms=_retention_ms(retention_s.get(source.name), source.retention_ms),
            message_bytes=message_bytes,
        )
        for source in topology.topics
    )
    topology = replace(topology, topics=sources)
    durability = Durability(
        replication_factor=replication_factor
        or settings.topic_replication_factor
        or BROKER_DEFAULT_REPLICATION,
        min_insync=settings.topic_min_insync_replicas,
        unclean_election=bool(settings.topic_unclean_election),
    )
    topics = wanted_topics(topology, durability=durability)
    named = {(name, PARTITIONS) for name in partitions}
    named |= {(name, "retention.ms") for name in retention_s}
    if settings.topic_min_insync_replicas:
        named |= {(topic.name, MIN_INSYNC) for topic in topics}
    return DeclaredTopics(topology, topics, frozenset(named))


def _retention_ms(named_s: int | None, default_ms: int) -> int:
    if named_s is None:
        return default_ms
    return UNLIMITED if named_s == UNLIMITED else named_s * 1000


def _by_topic(topology: Topology, variable: str, text: str, low: int, high: int) -> dict[str, int]:
    found: dict[str, int] = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = (part.strip() for part in pair.partition("="))
        if name not in topology.by_name:
            raise UsageError(
                f"{variable}: {name!r} is not a source topic. Its form is TOPIC=NUMBER"
                f"[,TOPIC=NUMBER]; source topics are {topology.names}."
            )
        try:
            found[name] = int(value)
        except ValueError:
            raise UsageError(f"{variable}: {pair} names no whole number.") from None
        if not (low <= found[name] <= high and found[name] != 0):
            raise UsageError(f"{variable}: {pair} is out of range, allowed {low} to {high}.")
    return found
