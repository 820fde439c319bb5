"""The topics the pipeline wants, how the broker's differ, and how to get from one to the other.

Nothing is ever made smaller: partitions cannot shrink, and a shorter retention would delete
records at once, so both are refused with a name and left to an operator.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from streams.errors import RefusedBySafety
from streams.topology import (
    DLQ_MESSAGE_BYTES,
    DLQ_RETENTION_BYTES,
    PARKED_HEADROOM_BYTES,
    SCHEDULE_RETENTION_MS,
    SCHEDULE_TOPIC,
    SOURCE_MESSAGE_BYTES,
    SOURCES,
    SourceTopic,
)
from streams.types import Admin, TopicConfig

BROKER_DEFAULT_REPLICATION = -1
"""Kafka creates the topic with its ``default.replication.factor``."""

_RETENTION = ("retention.ms", "retention.bytes")
_UNLIMITED = -1


class Kind(Enum):
    """What a difference asks for."""

    CREATE = "create"
    GROW = "grow"
    CONFIGURE = "configure"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Change:
    """One difference of one topic; ``now`` is "" where the broker has nothing.

    ``dedupe_gap``: growing a source moves keys to other partitions, whose tables have not seen
    the ids of the last dedupe TTL: a duplicate across the change is counted twice.
    """

    topic: str
    kind: Kind
    setting: str
    now: str
    wanted: str
    dedupe_gap: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """Every difference, in the order it can be applied."""

    changes: tuple[Change, ...]
    wanted: Mapping[str, TopicConfig]

    @property
    def refused(self) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if change.kind is Kind.REFUSE)

    @property
    def dedupe_gaps(self) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if change.dedupe_gap)


def wanted_topics(
    sources: Iterable[SourceTopic] = SOURCES,
    replication_factor: int = BROKER_DEFAULT_REPLICATION,
) -> list[TopicConfig]:
    """Every topic of the topology. A source comes behind its DLQ, what belongs to that, and its
    changelog: in this order no source partition ever exists without them."""
    topics = []
    for source in sources:
        configs = {source.dlq: _DLQ, source.parked: _PARKED, source.journal: _CHANGELOG}
        if source.group is not None:
            configs[source.changelog(source.group)] = _CHANGELOG
        configs[source.name] = _source_config(source)
        topics += [
            TopicConfig(name, source.partitions, replication_factor, config)
            for name, config in configs.items()
        ]
    return [*topics, TopicConfig(SCHEDULE_TOPIC, 1, replication_factor, _SCHEDULE)]


_DLQ = {
    "cleanup.policy": "delete",
    "message.timestamp.type": "CreateTime",
    "retention.ms": str(_UNLIMITED),
    "retention.bytes": str(DLQ_RETENTION_BYTES),
    "max.message.bytes": str(DLQ_MESSAGE_BYTES),
}
_PARKED = {**_DLQ, "max.message.bytes": str(DLQ_MESSAGE_BYTES + PARKED_HEADROOM_BYTES)}
_CHANGELOG = {
    "cleanup.policy": "delete",
    "retention.ms": str(_UNLIMITED),
    "retention.bytes": str(_UNLIMITED),
}
_SCHEDULE = {"cleanup.policy": "delete", "retention.ms": str(SCHEDULE_RETENTION_MS)}


def _source_config(source: SourceTopic) -> dict[str, str]:
    return {
        "cleanup.policy": "delete",
        "message.timestamp.type": "LogAppendTime",
        "retention.ms": str(source.retention_ms),
        "max.message.bytes": str(SOURCE_MESSAGE_BYTES),
    }


def plan(wanted: Sequence[TopicConfig], present: Mapping[str, TopicConfig]) -> Plan:
    """The differences between what is wanted and what `Admin.describe_topics` said.

    Settings the topology does not name are the operator's and are left alone.
    """
    sources = {source.name for source in SOURCES}
    changes: list[Change] = []
    for topic in wanted:
        found = present.get(topic.name)
        if found is None:
            partitions = f"{topic.partitions} partitions"
            changes.append(Change(topic.name, Kind.CREATE, "topic", "", partitions))
        else:
            changes += _partition_changes(topic, found, is_source=topic.name in sources)
            changes += _config_changes(topic, found)
    return Plan(tuple(changes), {topic.name: topic for topic in wanted})


async def apply(admin: Admin, planned: Plan, *, accept_dedupe_gap: bool = False) -> None:
    """Make the broker's topics those of the plan.

    Raises `RefusedBySafety`, before anything changed, when the plan would make something
    smaller, or grows a source without ``accept_dedupe_gap``.
    """
    _refuse_unsafe(planned, accept_dedupe_gap=accept_dedupe_gap)
    for change in planned.changes:
        if change.kind is Kind.CREATE:
            await admin.create_topics([planned.wanted[change.topic]])
        elif change.kind is Kind.GROW:
            await admin.create_partitions({change.topic: int(change.wanted)})
        else:
            await admin.alter_config(change.topic, {change.setting: change.wanted})


def _refuse_unsafe(planned: Plan, *, accept_dedupe_gap: bool) -> None:
    if planned.refused:
        named = "; ".join(
            f"{c.topic} {c.setting} from {c.now} to {c.wanted}" for c in planned.refused
        )
        raise RefusedBySafety(
            f"the topology would make topics smaller: {named}. Nothing was changed. Declare at "
            "least what exists, or lower it with Kafka's own tools, then run `dia topics plan`."
        )
    if planned.dedupe_gaps and not accept_dedupe_gap:
        named = ", ".join(f"{c.topic} from {c.now} to {c.wanted}" for c in planned.dedupe_gaps)
        raise RefusedBySafety(
            f"growing {named} moves keys to other partitions, so duplicates sent across the "
            "change are counted twice for up to DIA_DEDUPE_TTL_S. Nothing was changed. Pause the "
            "producers for that long, or run `dia topics apply --accept-dedupe-gap`."
        )


def _partition_changes(
    topic: TopicConfig, found: TopicConfig, *, is_source: bool
) -> Iterable[Change]:
    if topic.partitions == found.partitions:
        return
    kind = Kind.GROW if topic.partitions > found.partitions else Kind.REFUSE
    gap = is_source and kind is Kind.GROW
    yield Change(topic.name, kind, "partitions", str(found.partitions), str(topic.partitions), gap)


def _config_changes(topic: TopicConfig, found: TopicConfig) -> Iterable[Change]:
    for setting, value in topic.config.items():
        now = found.config.get(setting, "")
        if now == value:
            continue
        shrinks = setting in _RETENTION and now != "" and _limit(value) < _limit(now)
        kind = Kind.REFUSE if shrinks else Kind.CONFIGURE
        yield Change(topic.name, kind, setting, now, value)


def _limit(retention: str) -> float:
    number = int(retention)
    return float("inf") if number == _UNLIMITED else number
