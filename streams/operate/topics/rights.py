"""The Kafka ACLs that each role of an app needs, and no more.

The rules name topics, consumer groups and transactional ids as the engine forms them, so they
follow the app's declarations. Kafka's ACL model:
https://kafka.apache.org/documentation/#security_authz.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Final

from streams.core.topics.right import Right
from streams.core.topics.topic import Topic
from streams.core.topics.topology import Topology
from streams.engine.runtime.offsets.shed_order import orders_group
from streams.engine.runtime.poison.poison_register import register_group
from streams.engine.runtime.poison.quarantine_register import quarantine_group
from streams.operate.replay.owner import decided_group
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
    yield _host(topology)
    yield Right("group", f"{topology.app}-", _MEMBER, prefix=True)
    yield Right("transactionalId", f"{topology.app}-", _PRODUCER, prefix=True)
    for group in _decisions(topology):
        yield Right("group", group, _MEMBER)
    for group in _groups(topology):
        yield Right("transactionalId", register_group(group), _PRODUCER, prefix=True)
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
    yield _host(topology)
    yield Right("group", f"{topology.app}-", _MEMBER, prefix=True)
    yield Right("transactionalId", f"{topology.app}-", _PRODUCER, prefix=True)
    for group in _decisions(topology):
        yield Right("group", group, _MEMBER)
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
    yield Right("group", f"{topology.app}-", ("Describe",), prefix=True)
    orders = {orders_group(group) for group in _groups(topology)}
    for group in _decisions(topology):
        yield Right("group", group, _MEMBER if group in orders else ("Describe",))
    for group in sorted(orders):
        yield Right("transactionalId", group, _PRODUCER)
    yield from (Right("group", group, ("Read",)) for group in _decided(topology.topics))
    replays = f"{topology.replay_group}-"
    yield Right("transactionalId", replays, _PRODUCER, prefix=True)
    yield Right("cluster", "", ("Describe",))


def _topics(topology: Topology) -> list[str]:
    """All topics of `dia topics apply`, in its order."""
    return [topic.name for topic in wanted_topics(topology)]


def _changelogs(topology: Topology) -> set[str]:
    """The changelogs, which are trimmed."""
    return {topic.changelog(group) for group, topic in topology.sources()}


def _host(topology: Topology) -> Right:
    """The topics that Faust, the workers' host, creates itself."""
    return Right("topic", f"{topology.app}-host", (*_APPEND, "Create"), prefix=True)


def _groups(topology: Topology) -> list[str]:
    return sorted({found.group for found in topology.read})


def _decisions(topology: Topology) -> list[str]:
    """The groups whose committed offsets are decisions about partitions of the app's groups."""
    kinds = (orders_group, register_group, quarantine_group)
    return [kind(group) for group in _groups(topology) for kind in kinds]


def _decided(topics: Iterable[Topic]) -> list[str]:
    """The groups whose committed offsets count decisions on dead letters."""
    return sorted({decided_group(topic) for topic in topics})
