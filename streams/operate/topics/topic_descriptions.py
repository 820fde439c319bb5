"""Topics as the broker has them, beside what is declared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from streams.core.topics.topology import Topology
from streams.core.types import (
    Admin,
    LogBounds,
    LogReader,
    PartitionReplicas,
    TopicConfig,
    TopicPartition,
)

_RETENTION = "retention.ms"


class ListedTopic(NamedTuple):
    """``kind``: source, dlq, parked, journal, changelog, schedule; "" for a topic of no declaration.
    ``offsets``: end minus begin over all partitions, markers included. ``retention_ms``: as set on
    the topic; None: the broker's default. ``groups``: that read it."""

    name: str
    kind: str
    partitions: int
    offsets: int
    retention_ms: int | None
    replication: int
    groups: tuple[str, ...]


class GroupLag(NamedTuple):
    """``committed`` None: nothing is committed. ``lag``: offsets up to the last stable one."""

    group: str
    committed: int | None
    lag: int


class SettingLine(NamedTuple):
    """A setting of a topic: its value on the broker ("" for the default) and as declared ("" for
    none)."""

    setting: str
    value: str
    declared: str


class DescribedPartition(NamedTuple):
    """``high_watermark`` is above the last stable offset while a transaction is open."""

    tp: TopicPartition
    replicas: PartitionReplicas
    bounds: LogBounds
    high_watermark: int
    groups: tuple[GroupLag, ...]


def kinds(topology: Topology) -> dict[str, str]:
    """The kind of each topic that belongs to the app."""
    found = {topology.schedule_topic: "schedule"}
    for source in topology.topics:
        found[source.name] = "source"
        found[source.dlq] = "dlq"
        found[source.parked] = "parked"
        found[source.journal] = "journal"
        found |= {source.changelog(group): "changelog" for group in topology.groups(source)}
    return found


async def listed(
    admin: Admin, reader: LogReader, topology: Topology, *, every: bool
) -> list[ListedTopic]:
    """The app's topics that exist, or ``every`` one of the broker, by name.

    Raises `BrokerUnavailable`.
    """
    known = kinds(topology)
    topics = [
        topic for name, topic in (await admin.describe_topics()).items() if every or name in known
    ]
    bounds = await reader.bounds(
        TopicPartition(topic.name, number) for topic in topics for number in range(topic.partitions)
    )
    sizes: dict[str, int] = {}
    for tp, log in bounds.items():
        sizes[tp.topic] = sizes.get(tp.topic, 0) + log.stable_end - log.begin
    return [_listed(topic, known, sizes.get(topic.name, 0), topology) for topic in topics]


def _listed(
    topic: TopicConfig, known: Mapping[str, str], offsets: int, topology: Topology
) -> ListedTopic:
    source = topology.by_name.get(topic.name)
    retention = topic.config.get(_RETENTION)
    return ListedTopic(
        topic.name,
        known.get(topic.name, ""),
        topic.partitions,
        offsets,
        None if retention is None else int(retention),
        topic.replication_factor,
        () if source is None else topology.groups(source),
    )


async def described(
    admin: Admin, reader: LogReader, topology: Topology, name: str
) -> list[DescribedPartition]:
    """Each partition of a topic, with the lag of the app's groups that read it.

    Raises `UnknownTopic` and `BrokerUnavailable`.
    """
    replicas = await admin.describe_replicas(name)
    partitions = [TopicPartition(name, number) for number in sorted(replicas)]
    bounds = await reader.bounds(partitions)
    source = topology.by_name.get(name)
    groups = () if source is None else topology.groups(source)
    committed = {group: await admin.committed(group, partitions, stable=False) for group in groups}
    found = []
    for tp in partitions:
        lags = []
        for group, offsets in committed.items():
            done = offsets.get(tp)
            at = None if done is None else done.offset
            behind = bounds[tp].stable_end - (bounds[tp].begin if at is None else at)
            lags.append(GroupLag(group, at, max(0, behind)))
        high = await reader.high_watermark(tp)
        found.append(DescribedPartition(tp, replicas[tp.partition], bounds[tp], high, tuple(lags)))
    return found


def settings_of(found: TopicConfig, wanted: TopicConfig | None) -> Iterable[SettingLine]:
    declared = {} if wanted is None else wanted.config
    for name in sorted({*found.config, *declared}):
        yield SettingLine(name, found.config.get(name, ""), declared.get(name, ""))
