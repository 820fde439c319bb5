"""`dia topics rights`: each role may use the names that it needs, and no name of another app."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from streams import App
from streams.connect.broker.memory.broker import MemoryBroker
from streams.connect.broker.memory.cluster import Cluster
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
from streams.operate.topics.rights import KafkaRole, rights
from streams.operate.topics.topics import wanted_topics

OPERATOR, WORKER, EDGE, CONSOLE = KafkaRole
PEOPLE = (OPERATOR, WORKER)
"""Operators may run whatever a worker runs."""
SHARED = ("dia-edge-", "dia-shed-")
"""Prefixes of ids that name no app; the roles that have them reach every app of the cluster."""


class Use(NamedTuple):
    """An operation of a part of the pipeline on a resource of this name."""

    role: KafkaRole
    resource: str
    name: str
    operation: str


def declared(name, *groups):
    """An app with one agent in each group, on a topic of its own."""
    app = App(name)
    for number, group in enumerate((app.group, *groups)):
        source = app.topic(f"{name}.orders-{number}", value_type=bytes, partitions=2)

        @app.agent(source, name=f"count-{number}", group=group)
        async def count(events):
            async for _ in events:
                pass

    return app


def group_uses(app):
    """The groups, as the engine names them."""
    topology = app.topology
    decided = {owner.decided_group(topic) for topic in topology.topics}
    own = {topology.leader_group, agents_group(topology), *decided}
    read = {group for group, _ in topology.sources()}
    kept = {
        kind(group) for group in read for kind in (register_group, quarantine_group, close_group)
    }
    orders = {orders_group(group) for group in read}
    for role in PEOPLE:
        for name in read | own | kept | orders:
            yield Use(role, "group", name, "Read")
    for name in orders | decided:
        yield Use(CONSOLE, "group", name, "Read")
    for name in read | kept:
        yield Use(CONSOLE, "group", name, "Describe")


def producer_uses(app):
    """The transactional ids, as the engine forms them; topics may have more partitions than
    declared.
    """
    topology = app.topology
    for group, topic in topology.sources():
        for role in (OPERATOR, CONSOLE):
            yield Use(role, "transactionalId", orders_group(group), "Write")
        yield Use(OPERATOR, "transactionalId", close_group(group), "Write")
        for partition in range(topic.partitions + 9):
            tp = TopicPartition(topic.name, partition)
            register = transactional_id(register_group(group), tp)
            yield Use(OPERATOR, "transactionalId", register, "Write")
            for role in PEOPLE:
                yield Use(role, "transactionalId", transactional_id(group, tp), "Write")
    for topic in topology.topics:
        for partition in range(topic.partitions + 9):
            replays = owner.transactional_id(topic, partition)
            for role in (*PEOPLE, CONSOLE):
                yield Use(role, "transactionalId", replays, "Write")
    for role in PEOPLE:
        yield Use(role, "transactionalId", leader_id(topology), "Write")


def uses(app):
    """All names except the shared ones."""
    for role in PEOPLE:
        for topic in wanted_topics(app.topology):
            yield Use(role, "topic", topic.name, "Write")
    journal = journal_of(app.topology.app).topic
    yield Use(OPERATOR, "topic", journal, "Write")
    yield Use(OPERATOR, "transactionalId", writer_id(app.topology.app), "Write")
    for role in (EDGE, CONSOLE):
        yield Use(role, "topic", journal, "Read")
    yield from group_uses(app)
    yield from producer_uses(app)


def matches(right, use):
    found = use.name.startswith(right.name) if right.prefix else use.name == right.name
    return right.resource == use.resource and found


def test_a_role_may_use_every_name_that_it_works_with():
    """A missing right stops a worker, a replay or a shed when it is needed."""
    app = declared("acme", "acme-slow")
    for use in uses(app):
        granted = [right for right in rights(app.topology, use.role) if matches(right, use)]
        assert any(use.operation in right.operations for right in granted), use


def kafka_groups(app):
    """Every group whose name is a prefix of the app's names."""
    topology = app.topology
    own = (topology.replay_group, topology.leader_group, agents_group(topology))
    return {*own, *(group for group, _ in topology.sources())}


words = st.lists(
    st.sampled_from(["eu", "group", "replay", "leader", "agents", "decided", "acme"]),
    min_size=1,
    max_size=3,
).map("-".join)


@given(name=words, group=words, other_group=words)
@example(name="eu", group="slow", other_group="slow")
def test_no_right_reaches_an_app_whose_name_begins_alike(name, group, other_group):
    """A worker of `acme` that may fence producers of `acme-eu` could stop its partitions."""
    app, other = App("acme"), App(f"acme-{name}")
    groups = {f"{app.name}-{group}"} - {app.group} - kafka_groups(app)
    others = {f"{other.name}-{other_group}"} - {other.group} - kafka_groups(other)
    app, other = declared(app.name, *groups), declared(other.name, *others)
    # Law: no group of one app is a group of the other.
    assume(kafka_groups(app).isdisjoint(kafka_groups(other)))
    for mine, theirs in ((app, other), (other, app)):
        names = set(uses(theirs))
        for role in KafkaRole:
            for right in rights(mine.topology, role):
                if right.name not in SHARED and right.resource != "cluster":
                    reached = [use.name for use in names if matches(right, use)]
                    assert not reached, (mine.name, role, right)


@pytest.mark.parametrize("slow", ["acme-slow", "acme-a-b"])
def test_a_running_worker_uses_no_other_name(slow, app_tester, monkeypatch):
    """The lists above are written by hand; a running engine shows the names that Kafka gets."""
    seen = set()
    producer, group = MemoryBroker.transactional_producer, Cluster.group

    def named_producer(broker, name):
        seen.add(Use(WORKER, "transactionalId", name, "Write"))
        return producer(broker, name)

    def named_group(cluster, name):
        seen.add(Use(WORKER, "group", name, "Read"))
        return group(cluster, name)

    monkeypatch.setattr(MemoryBroker, "transactional_producer", named_producer)
    monkeypatch.setattr(Cluster, "group", named_group)
    app = declared("acme", slow)
    tester = app_tester(app)
    for topic in app.topics:
        tester.send(topic, b"{}", key=b"k")
    tester.crash()
    assert {use.name for use in seen} >= {"acme-group", slow, f"{slow}.acme.orders-1-0"}
    for use in seen:
        granted = [right for right in rights(app.topology, WORKER) if matches(right, use)]
        assert any(use.operation in right.operations for right in granted), use
