"""The Kafka ACLs that each role of an app needs, and no more.

The rules name topics, consumer groups and transactional ids as the engine forms them, so they
follow the app's declarations. Kafka's ACL model:
https://kafka.apache.org/documentation/#security_authz.

- Topics and groups are literal, and so is a transactional id without a partition.
- The id of a partition is `GROUP-TOPIC-PARTITION`. Topics grow, so a rule has the prefix
  `GROUP-TOPIC-`. It reaches another app only where a group of that app begins with `GROUP-`: the
  group `acme-group` and an app `acme-group-eu`.
- Two prefixes name no app and reach every app of the cluster. Edges have `dia-edge-`: the id of an
  edge is formed from the edge's name. Operators have `dia-shed-`: the id that returns a shed range
  is formed from its order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Final

from streams.core.topics.right import Right
from streams.core.topics.topic import Topic
from streams.core.topics.topology import Topology
from streams.core.types import TopicPartition
from streams.engine.runtime.assignment import transactional_id
from streams.engine.runtime.offsets.shed_order import orders_group
from streams.engine.runtime.poison.poison_register import register_group
from streams.engine.runtime.poison.quarantine_register import quarantine_group
from streams.engine.schedule.term import leader_id
from streams.operate.replay import owner
from streams.operate.replay.agent import agents_group
from streams.operate.topics.topics import wanted_topics


class KafkaRole(StrEnum):
    """A part of the pipeline with a Kafka user of its own."""

    OPERATOR = "operator"
    """People, and the jobs that create topics."""
    WORKER = "worker"
    EDGE = "edge"
    CONSOLE = "console"


_READ: Final = ("Read", "Describe", "DescribeConfigs")
_APPEND: Final = ("Read", "Write", "Describe", "DescribeConfigs")
_MAKE: Final = ("Create", "Alter", "AlterConfigs")
_MEMBER: Final = ("Read", "Describe")
_PRODUCER: Final = ("Write", "Describe")


def rights(topology: Topology, role: KafkaRole) -> list[Right]:
    """The rules of one role. Write on a source topic is the right to write for all its tenants."""
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
    """Creates topics, resets tables, sheds, replays; trims after a reset."""
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
    yield Right("cluster", "", ("IdempotentWrite", "Describe"))


def _worker(topology: Topology) -> Iterator[Right]:
    """Reads sources; writes results, dead letters, replayed records and state. It trims changelogs
    by deleting records; a replay journal is never trimmed."""
    trimmed = _changelogs(topology)
    for name in _topics(topology):
        yield Right("topic", name, (*_APPEND, *(("Delete",) if name in trimmed else ())))
    yield from _work(topology)
    yield Right("cluster", "", ("IdempotentWrite", "Describe"))


def _edge(topology: Topology) -> Iterator[Right]:
    """Appends events. Read, because its batch number is a committed offset, which Kafka allows
    readers to commit."""
    for topic in topology.consumed():
        yield Right("topic", topic.name, _APPEND)
    yield Right("group", "dia-edge-", _MEMBER, prefix=True)
    yield Right("transactionalId", "dia-edge-", _PRODUCER, prefix=True)


def _console(topology: Topology) -> Iterator[Right]:
    """Reads dead letters and waiting requests; cancels requests, submits and stops replays, orders
    and withdraws sheds. It writes no other source and no state."""
    journals = {topic.journal for topic in topology.topics}
    shown = {name for topic in topology.topics for name in (topic.name, topic.dlq, topic.parked)}
    for name in _topics(topology):
        if name in journals or name in topology.answers:
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
    yield Right("cluster", "", ("Describe",))


def _work(topology: Topology) -> Iterator[Right]:
    """The host, the groups and the producers of workers and of replay agents."""
    yield Right("topic", topology.host_topic, (*_APPEND, "Create"))
    own = (agents_group(topology), topology.leader_group, topology.host_group)
    decided = _decided(topology.topics)
    for group in (*_groups(topology), *own, *decided, *_decisions(topology)):
        yield Right("group", group, _MEMBER)
    for group, topic in topology.sources():
        yield _producers(transactional_id(group, TopicPartition(topic.name, 0)))
    yield from _replays(topology.topics)
    yield Right("transactionalId", leader_id(topology), _PRODUCER)


def _replays(topics: Iterable[Topic]) -> Iterator[Right]:
    """The producers that decide on dead letters."""
    for topic in topics:
        yield _producers(owner.transactional_id(topic, 0))


def _producers(first: str) -> Right:
    """The ids of all partitions of a topic; ``first`` is that of partition 0."""
    return Right("transactionalId", first.removesuffix("0"), _PRODUCER, prefix=True)


def _topics(topology: Topology) -> list[str]:
    """All topics of `dia topics apply`, in its order."""
    return [topic.name for topic in wanted_topics(topology)]


def _changelogs(topology: Topology) -> set[str]:
    """The changelogs, which are trimmed."""
    return {topic.changelog(group) for group, topic in topology.sources()}


def _groups(topology: Topology) -> list[str]:
    return sorted({found.group for found in topology.read})


def _decisions(topology: Topology) -> list[str]:
    """The groups whose committed offsets are decisions about partitions of the app's groups."""
    kinds = (orders_group, register_group, quarantine_group)
    return [kind(group) for group in _groups(topology) for kind in kinds]


def _decided(topics: Iterable[Topic]) -> list[str]:
    """The groups whose committed offsets count decisions on dead letters."""
    return sorted({owner.decided_group(topic) for topic in topics})
