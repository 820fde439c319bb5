"""The Kafka ACLs that each role of an app needs, and no more.

Model: https://kafka.apache.org/documentation/#security_authz. The rules name topics, groups and
transactional ids as the engine forms them.

- Topics and groups are literal, and so is a transactional id without a partition.
- Topics grow, so the id of a partition, `GROUP.TOPIC-PARTITION`, has the prefix `GROUP.TOPIC-`. It
  reaches the ids of the same group for topics whose name begins with `TOPIC-`.
- Two prefixes reach every app of the cluster: edges have `dia-edge-` and the edge's name,
  operators have `dia-shed-` and an order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Final

from streams.core.topics.right import Right
from streams.core.topics.topic import Topic
from streams.core.topics.topology import Topology
from streams.core.types import TopicPartition
from streams.engine.runtime.assignment import transactional_id
from streams.engine.runtime.offsets.close_order import close_group
from streams.engine.runtime.offsets.shed_order import orders_group
from streams.engine.runtime.poison.poison_register import register_group
from streams.engine.runtime.poison.quarantine_register import quarantine_group
from streams.engine.schedule.term import leader_id
from streams.operate.regions.word import journal_of, writer_id
from streams.operate.replay.agent.agent import agents_group
from streams.operate.replay.journal import owner
from streams.operate.topics.topics import wanted_topics


class KafkaRole(StrEnum):
    """A part of the pipeline with a Kafka user of its own."""

    OPERATOR = "operator"
    """people, and the jobs that create topics"""
    WORKER = "worker"
    EDGE = "edge"
    CONSOLE = "console"


_READ: Final = ("Read", "Describe", "DescribeConfigs")
_APPEND: Final = ("Read", "Write", "Describe", "DescribeConfigs")
_MAKE: Final = ("Create", "Alter", "AlterConfigs")
_MEMBER: Final = ("Read", "Describe")
_PRODUCER: Final = ("Write", "Describe")


def rights(topology: Topology, role: KafkaRole) -> list[Right]:
    """Write on a source topic is the right to write for all its tenants."""
    match role:
        case KafkaRole.OPERATOR:
            return [*_operator(topology)]
        case KafkaRole.WORKER:
            return [*_worker(topology)]
        case KafkaRole.EDGE:
            return [*_edge(topology)]
        case KafkaRole.CONSOLE:
            return [*_console(topology)]


def _operator(topology: Topology) -> Iterator[Right]:
    """Creates topics, resets tables, sheds, replays, makes a region active; trims after a reset."""
    trimmed = _changelogs(topology)
    for name in _topics(topology):
        yield Right("topic", name, (*_APPEND, *_MAKE, *(("Delete",) if name in trimmed else ())))
    yield from _work(topology)
    for group, topic in topology.sources():
        first = transactional_id(register_group(group), TopicPartition(topic.name, 0))
        yield _producers(first)
    # Of orders and of their returns: `dia-shed-ORDER-TOPIC-PARTITION`.
    yield Right("transactionalId", "dia-shed-", _PRODUCER, prefix=True)
    yield Right("group", "dia-shed-", _MEMBER, prefix=True)
    for group in _groups(topology):
        yield Right("transactionalId", close_group(group), _PRODUCER)
    yield Right("topic", journal_of(topology.app).topic, (*_APPEND, "Create"))
    yield Right("transactionalId", writer_id(topology.app), _PRODUCER)
    yield Right("cluster", "", ("IdempotentWrite", "Describe"))


def _worker(topology: Topology) -> Iterator[Right]:
    """Trims changelogs by deleting records; a replay journal is never trimmed."""
    trimmed = _changelogs(topology)
    for name in _topics(topology):
        yield Right("topic", name, (*_APPEND, *(("Delete",) if name in trimmed else ())))
    yield from _work(topology)
    yield Right("cluster", "", ("IdempotentWrite", "Describe"))


def _edge(topology: Topology) -> Iterator[Right]:
    """Read, because its batch number is a committed offset, which Kafka allows readers to
    commit."""
    for topic in topology.consumed():
        yield Right("topic", topic.name, _APPEND)
    yield Right("topic", journal_of(topology.app).topic, _READ)
    yield Right("group", "dia-edge-", _MEMBER, prefix=True)
    yield Right("transactionalId", "dia-edge-", _PRODUCER, prefix=True)


def _console(topology: Topology) -> Iterator[Right]:
    """Reads messages, dead letters and the commits that a trace names; cancels requests, sends
    messages again, submits and stops replays, parks and discards dead letters, orders and withdraws
    sheds. It writes no state and no dead letter."""
    written = {
        name for topic in topology.topics for name in (topic.journal, topic.name, topic.parked)
    }
    shown = {topic.dlq for topic in topology.topics} | _changelogs(topology)
    for name in _topics(topology):
        if name in written:
            yield Right("topic", name, _APPEND)
        elif name in shown:
            yield Right("topic", name, _READ)
    for group in _groups(topology):
        yield Right("group", group, ("Describe",))
    orders = {orders_group(group) for group in _groups(topology)}
    for group in _decisions(topology):
        yield Right("group", group, _MEMBER if group in orders else ("Describe",))
    for group in sorted(orders):
        yield Right("transactionalId", group, _PRODUCER)
    for group in _decided(topology.topics):
        yield Right("group", group, _MEMBER)
    yield from _replays(topology.topics)
    yield Right("topic", journal_of(topology.app).topic, _READ)
    yield Right("cluster", "", ("Describe",))


def _work(topology: Topology) -> Iterator[Right]:
    """What workers and replay agents share."""
    own = (agents_group(topology), topology.leader_group)
    decided = _decided(topology.topics)
    for group in (*_groups(topology), *own, *decided, *_decisions(topology)):
        yield Right("group", group, _MEMBER)
    for group, topic in topology.sources():
        yield _producers(transactional_id(group, TopicPartition(topic.name, 0)))
    yield from _replays(topology.topics)
    yield Right("transactionalId", leader_id(topology), _PRODUCER)


def _replays(topics: Iterable[Topic]) -> Iterator[Right]:
    for topic in topics:
        yield _producers(owner.transactional_id(topic, 0))


def _producers(first: str) -> Right:
    """The ids of all partitions of a topic; ``first`` is that of partition 0."""
    return Right("transactionalId", first.removesuffix("0"), _PRODUCER, prefix=True)


def _topics(topology: Topology) -> list[str]:
    return [topic.name for topic in wanted_topics(topology)]


def _changelogs(topology: Topology) -> set[str]:
    return {topic.changelog(group) for group, topic in topology.sources()}


def _groups(topology: Topology) -> list[str]:
    return sorted({found.group for found in topology.read})


def _decisions(topology: Topology) -> list[str]:
    """The groups whose committed offsets are decisions about partitions."""
    kinds = (orders_group, register_group, quarantine_group, close_group)
    return [kind(group) for group in _groups(topology) for kind in kinds]


def _decided(topics: Iterable[Topic]) -> list[str]:
    """The groups whose committed offsets count decisions on dead letters."""
    return sorted({owner.decided_group(topic) for topic in topics})
