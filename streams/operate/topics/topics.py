"""The declared topics, their differences from the broker's, and the changes to apply.

A topic is never made smaller: partitions cannot shrink, and a shorter retention would delete
records at once. A larger value is left and reported, and refused where an operator set the smaller
one. One refusal stops its own change only."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from streams.core.errors import RefusedBySafety
from streams.core.topics.topic import (
    CHANGELOG_MESSAGE_BYTES,
    DAY_MS,
    DLQ_HEADROOM_BYTES,
    DLQ_RETENTION_BYTES,
    PARKED_HEADROOM_BYTES,
    UNLIMITED,
    Topic,
)
from streams.core.topics.topology import Topology
from streams.core.types import BROKER_DEFAULT_REPLICATION, Admin, TopicConfig

SCHEDULE_RETENTION_MS = 30 * DAY_MS

MIN_INSYNC = "min.insync.replicas"
UNCLEAN = "unclean.leader.election.enable"
PARTITIONS = "partitions"
REPLICATION = "replication factor"
CREATED_AT_ONCE = 50
"""Topics of one request, which waits once until every broker knows them."""
_RETENTION = ("retention.ms", "retention.bytes")
NO_TABLES: Mapping[str, tuple[str, ...]] = {}
_SIZES = (*_RETENTION, "max.message.bytes", MIN_INSYNC)
"""A larger value on the broker is left unchanged."""


class DifferenceKind(Enum):
    CREATE = "create"
    GROW = "grow"
    CONFIGURE = "configure"
    LEAVE = "leave"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class TopicChange:
    """``now`` is "" for a missing value. ``dedupe_gap``: growing a source moves keys to partitions
    without the ids of the last dedupe TTL: a duplicate across the change is counted twice. ``tables``: of its
    agent, whose entries of moved keys stay behind."""

    topic: str
    kind: DifferenceKind
    setting: str
    now: str
    wanted: str
    dedupe_gap: bool = False
    tables: tuple[str, ...] = ()

    @property
    def why(self) -> str:
        """The reason for no action, or for an operator's consent; "" for an action."""
        if self.dedupe_gap:
            tables = (
                f"; their entries stay behind in {', '.join(self.tables)}" if self.tables else ""
            )
            return f"moves keys, so it needs --accept-dedupe-gap{tables}"
        if self.kind is DifferenceKind.LEAVE and self.setting == REPLICATION:
            return "dia cannot change it: kafka-reassign-partitions.sh does"
        if self.kind is DifferenceKind.LEAVE:
            return "larger than declared, served as it is"
        return "would become smaller" if self.kind is DifferenceKind.REFUSE else ""


@dataclass(frozen=True, slots=True)
class TopicPlan:
    """Every difference, in order of application. ``named`` as in `plan`."""

    topology: Topology
    changes: tuple[TopicChange, ...]
    wanted: Mapping[str, TopicConfig]
    named: Collection[tuple[str, str]] = ()

    @property
    def refused(self) -> tuple[TopicChange, ...]:
        return tuple(change for change in self.changes if change.kind is DifferenceKind.REFUSE)

    @property
    def dedupe_gaps(self) -> tuple[TopicChange, ...]:
        return tuple(change for change in self.changes if change.dedupe_gap)

    @property
    def to_do(self) -> tuple[TopicChange, ...]:
        idle = (DifferenceKind.LEAVE, DifferenceKind.REFUSE)
        return tuple(change for change in self.changes if change.kind not in idle)


@dataclass(frozen=True, slots=True, kw_only=True)
class Durability:
    """``min_insync`` 0: a `majority`."""

    replication_factor: int = BROKER_DEFAULT_REPLICATION
    min_insync: int = 0
    unclean_election: bool = False


def majority(replication_factor: int) -> int:
    """Replicas that must acknowledge a record: 1, 1, 2, 2, 3 of 1 to 5."""
    return max(1, (replication_factor + 1) // 2)


def wanted_topics(
    topology: Topology,
    replication_factor: int = BROKER_DEFAULT_REPLICATION,
    durability: Durability | None = None,
) -> list[TopicConfig]:
    """Every topic. A source follows its companions, so no source partition exists without them.
    Answer topics come first."""
    kept = durability or Durability(replication_factor=replication_factor)
    topics: dict[str, tuple[int, dict[str, str]]] = {}
    for source in sorted(topology.topics, key=lambda source: bool(topology.groups(source))):
        configs = {source.dlq: _dlq(source), source.parked: _dlq(source, PARKED_HEADROOM_BYTES)}
        for name in topology.companions(source):
            topics[name] = (source.partitions, configs.get(name, _CHANGELOG))
        topics[source.name] = (source.partitions, _source_config(source))
    topics[topology.schedule_topic] = (1, _SCHEDULE)
    factor, safety = kept.replication_factor, _safety(kept)
    return [
        TopicConfig(name, partitions, factor, config | safety)
        for name, (partitions, config) in topics.items()
    ]


def _safety(durability: Durability) -> dict[str, str]:
    config = {UNCLEAN: str(durability.unclean_election).lower()}
    factor = durability.replication_factor
    if durability.min_insync or factor > 0:
        config[MIN_INSYNC] = str(durability.min_insync or majority(factor))
    return config


_CHANGELOG = {
    "cleanup.policy": "delete",
    "retention.ms": str(UNLIMITED),
    "retention.bytes": str(UNLIMITED),
    "max.message.bytes": str(CHANGELOG_MESSAGE_BYTES),
}
_SCHEDULE = {
    "cleanup.policy": "delete",
    "retention.ms": str(SCHEDULE_RETENTION_MS),
    "max.message.bytes": str(CHANGELOG_MESSAGE_BYTES),
}


def _dlq(source: Topic, headroom_bytes: int = 0) -> dict[str, str]:
    message_bytes = source.message_bytes + DLQ_HEADROOM_BYTES + headroom_bytes
    return {
        "cleanup.policy": "delete",
        "message.timestamp.type": "CreateTime",
        "retention.ms": str(UNLIMITED),
        "retention.bytes": str(DLQ_RETENTION_BYTES),
        "max.message.bytes": str(message_bytes),
    }


def _source_config(source: Topic) -> dict[str, str]:
    return {
        "cleanup.policy": "compact" if source.compacting else "delete",
        "message.timestamp.type": "LogAppendTime",
        "retention.ms": str(UNLIMITED if source.compacting else source.retention_ms),
        "max.message.bytes": str(source.message_bytes),
    }


def plan(
    topology: Topology,
    wanted: Sequence[TopicConfig],
    present: Mapping[str, TopicConfig],
    named: Collection[tuple[str, str]] = (),
    tables: Mapping[str, tuple[str, ...]] = NO_TABLES,
) -> TopicPlan:
    """The differences of ``wanted`` from `Admin.describe_topics`.

    ``named``: (topic, setting) with an operator's value; making it smaller is refused instead of
    left. ``tables``: by source, those of its agent. Settings outside the topology are unmanaged."""
    needed = _partitions_needed(topology, wanted, present)
    resolved = {t.name: _resolved(t, present.get(t.name), needed[t.name]) for t in wanted}
    declared = {topic.name: topic.partitions for topic in wanted}
    changes: list[TopicChange] = []
    for topic in resolved.values():
        found = present.get(topic.name)
        if found is None:
            partitions = f"{topic.partitions} partitions"
            changes.append(TopicChange(topic.name, DifferenceKind.CREATE, "topic", "", partitions))
            continue
        changes += [
            replace(change, tables=tables.get(topic.name, ())) if change.dedupe_gap else change
            for change in _partition_changes(topology, topic, found, declared[topic.name], named)
        ]
        if topic.replication_factor > 0 and topic.replication_factor != found.replication_factor:
            now, factor = str(found.replication_factor), str(topic.replication_factor)
            changes.append(TopicChange(topic.name, DifferenceKind.LEAVE, REPLICATION, now, factor))
        changes += _config_changes(topic, found, named)
    return TopicPlan(topology, tuple(changes), resolved, named)


def _partitions_needed(
    topology: Topology, wanted: Iterable[TopicConfig], present: Mapping[str, TopicConfig]
) -> dict[str, int]:
    """A source keeps its existing count; its companions have at least that of the source or its
    DLQ."""
    needed = {topic.name: topic.partitions for topic in wanted}

    def at_least(name: str, partitions: int) -> None:
        if name in needed:
            needed[name] = max(needed[name], partitions)

    def existing(name: str) -> int:
        return present[name].partitions if name in present else 0

    for source in topology.topics:
        at_least(source.name, existing(source.name))
    for asked, answered in topology.answers.items():
        at_least(answered, needed.get(asked, 0))
    for source in topology.topics:
        least = max(needed.get(source.name, 0), existing(source.dlq))
        for companion in topology.companions(source):
            at_least(companion, least)
    return needed


def _resolved(topic: TopicConfig, found: TopicConfig | None, partitions: int) -> TopicConfig:
    """More in-sync replicas than replicas would refuse every write. While the replica count is
    unknown, no minimum is set."""
    config = dict(topic.config)
    factor = topic.replication_factor if found is None else found.replication_factor
    if factor > 0:
        asked = int(config.get(MIN_INSYNC, majority(factor)))
        config[MIN_INSYNC] = str(min(asked, factor))
    else:
        config.pop(MIN_INSYNC, None)
    return replace(topic, partitions=partitions, config=config)


_CHANGELOG_NAME = re.compile(r"(?P<app>[^.]+)\.(?P<group>[^.]+)\.(?P<topic>.+)\.changelog")


def refuse_other_apps(topology: Topology, present: Iterable[str]) -> None:
    """Raises `RefusedBySafety` when another app's changelog names a topic or group of ``topology``:
    both would write its dead letters, or fence each other's producers."""
    groups = {found.group for found in topology.read}
    for name in sorted(present):
        found = _CHANGELOG_NAME.fullmatch(name)
        if found is None or found["app"] == topology.app:
            continue
        if found["topic"] in topology.by_name:
            raise RefusedBySafety(
                f"topic {found['topic']} is of app {found['app']}: {name} exists. Nothing was "
                f"changed. One app owns a topic and its dead letters: name another topic, which "
                f"that app writes for this one."
            )
        if found["group"] in groups:
            raise RefusedBySafety(
                f"group {found['group']} is of app {found['app']} too: {name} exists. Nothing was "
                f"changed. Name another group, or call the app otherwise."
            )


async def apply(admin: Admin, planned: TopicPlan, *, accept_dedupe_gap: bool = False) -> None:
    """Raises `RefusedBySafety`, after all other changes, when the plan would make smaller a value
    that an operator set, or grow a source without ``accept_dedupe_gap``."""
    await _carry_out(admin, planned, accept_dedupe_gap=accept_dedupe_gap)
    if any(change.kind is DifferenceKind.CREATE for change in planned.changes):
        # The replica count of new topics is known only now.
        present = await admin.describe_topics()
        made = plan(planned.topology, list(planned.wanted.values()), present, planned.named)
        await _carry_out(admin, made, accept_dedupe_gap=accept_dedupe_gap)
    if reasons := refusals(planned, accept_dedupe_gap=accept_dedupe_gap):
        raise RefusedBySafety(f"{' '.join(reasons)} Every other change of the plan is made.")


async def _carry_out(admin: Admin, planned: TopicPlan, *, accept_dedupe_gap: bool) -> None:
    new = [planned.wanted[c.topic] for c in planned.to_do if c.kind is DifferenceKind.CREATE]
    for first in range(0, len(new), CREATED_AT_ONCE):
        await admin.create_topics(new[first : first + CREATED_AT_ONCE])
    for change in planned.to_do:
        if change.kind is DifferenceKind.CREATE:
            continue
        if change.kind is DifferenceKind.CONFIGURE:
            await admin.alter_config(change.topic, {change.setting: change.wanted})
        elif accept_dedupe_gap or not change.dedupe_gap:
            await admin.create_partitions({change.topic: int(change.wanted)})


def refusals(planned: TopicPlan, *, accept_dedupe_gap: bool = False) -> list[str]:
    """Why `apply` refuses changes of ``planned``, in sentences; empty if it makes all of them."""
    reasons = []
    if planned.refused:
        reasons.append(_smaller(planned.refused))
    if planned.dedupe_gaps and not accept_dedupe_gap:
        named = ", ".join(f"{c.topic} from {c.now} to {c.wanted}" for c in planned.dedupe_gaps)
        tables = ", ".join(name for c in planned.dedupe_gaps for name in c.tables)
        left = (
            f"Entries of {tables} stay in their partition: those of a moved key begin anew in another one. "
            if tables
            else ""
        )
        reasons.append(
            f"growing {named} moves keys to other partitions, so duplicates sent across the "
            "change are counted twice for up to DIA_DEDUPE_TTL_S, unless the producers pause for that "
            f"long. {left}To grow all the same: `dia topics apply --accept-dedupe-gap`."
        )
    return reasons


def _smaller(refused: Iterable[TopicChange]) -> str:
    listed = "; ".join(f"{c.topic} {c.setting} from {c.now} to {c.wanted}" for c in refused)
    return (
        f"the settings would make topics smaller: {listed}. Unset DIA_TOPIC_* or name at least "
        "what exists; what Kafka can lower at all, kafka-configs.sh lowers."
    )


def _partition_changes(
    topology: Topology,
    topic: TopicConfig,
    found: TopicConfig,
    declared: int,
    named: Collection[tuple[str, str]],
) -> Iterator[TopicChange]:
    source = topology.by_name.get(topic.name)
    now = str(found.partitions)
    if found.partitions < topic.partitions:
        gap = source is not None and bool(topology.groups(source))
        yield TopicChange(
            topic.name, DifferenceKind.GROW, PARTITIONS, now, str(topic.partitions), gap
        )
        return
    lower = declared if source is not None else topic.partitions
    if found.partitions > lower:
        kind = DifferenceKind.REFUSE if (topic.name, PARTITIONS) in named else DifferenceKind.LEAVE
        yield TopicChange(topic.name, kind, PARTITIONS, now, str(lower))


def _config_changes(
    topic: TopicConfig, found: TopicConfig, named: Collection[tuple[str, str]]
) -> Iterator[TopicChange]:
    for setting, value in topic.config.items():
        now = found.config.get(setting, "")
        if now == value:
            continue
        kind = DifferenceKind.CONFIGURE
        # More in-sync replicas than replicas: the topic accepts no records.
        unwritable = setting == MIN_INSYNC and now != "" and int(now) > found.replication_factor
        larger = setting in _SIZES and now != "" and _size(setting, value) < _size(setting, now)
        if larger and not unwritable:
            kind = DifferenceKind.REFUSE if (topic.name, setting) in named else DifferenceKind.LEAVE
        yield TopicChange(topic.name, kind, setting, now, value)


def _size(setting: str, value: str) -> float:
    number = int(value)
    return float("inf") if setting in _RETENTION and number == UNLIMITED else number
