"""From the declared topics to the broker's: every difference is reported, nothing is made smaller,
and larger values are accepted.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from agents.app import MODEL_METRICS, SIMULATION_REQUEST, SIMULATION_RESULT, app
from streams.connect.broker.memory.broker import MemoryBroker
from streams.core.clock import VirtualClock
from streams.core.errors import RefusedBySafety
from streams.core.topics.topic import CHANGELOG_PART_BYTES
from streams.core.types import TopicConfig
from streams.operate.topics.topics import (
    DifferenceKind,
    Durability,
    apply,
    majority,
    plan,
    wanted_topics,
)

DLQ = "model.metrics.dlq"
CHANGELOG = "dia.dia-group.model.metrics.changelog"
NAMES = {
    app.topology.schedule_topic,
    *(
        name
        for source in app.topology.topics
        for name in (source.name, *app.topology.companions(source))
    ),
}


@pytest.fixture
async def admin():
    return await MemoryBroker(VirtualClock()).admin()


async def _apply_all(admin, topology=app.topology) -> None:
    await apply(admin, plan(topology, wanted_topics(topology), await admin.describe_topics()))


def _differences(planned) -> list[tuple[str, DifferenceKind, str, str, str]]:
    return [(c.topic, c.kind, c.setting, c.now, c.wanted) for c in planned.changes]


async def test_an_empty_broker_gets_every_topic_and_then_has_no_difference(admin, monkeypatch):
    """A deployment begins with this command, and running it again must change nothing. A request for each topic
    would wait for every broker as often."""
    requests: list[int] = []
    create = type(admin).create_topics

    async def counted(self, topics):
        requests.append(len(topics))
        await create(self, topics)

    monkeypatch.setattr(type(admin), "create_topics", counted)
    await _apply_all(admin)
    assert requests == [len(NAMES)]
    present = await admin.describe_topics()
    assert plan(app.topology, wanted_topics(app.topology), present).changes == ()
    assert set(present) == NAMES
    assert present["model.metrics"].config["message.timestamp.type"] == "LogAppendTime"
    assert present[DLQ].config["message.timestamp.type"] == "CreateTime"
    assert present[DLQ].config["retention.ms"] == "-1"
    assert present[CHANGELOG].config["cleanup.policy"] == "delete"
    assert present[CHANGELOG].config["retention.bytes"] == "-1"
    assert int(present[CHANGELOG].config["max.message.bytes"]) > CHANGELOG_PART_BYTES
    for topic in present.values():
        assert topic.config["unclean.leader.election.enable"] == "false"
        assert topic.config["min.insync.replicas"] == "1"
    for name, partitions in [("model.metrics", 4), (DLQ, 4), (CHANGELOG, 4), ("train.results", 3)]:
        assert present[name].partitions == partitions


def test_the_dlq_holds_any_record_of_its_source():
    """A record that fits the source must fit the DLQ with its headers."""
    limits = {
        t.name: int(t.config.get("max.message.bytes", 0)) for t in wanted_topics(app.topology)
    }
    for source in app.topology.topics:
        assert limits[source.dlq] == limits[source.name] + (64 << 10)
        assert limits[source.name] > 1 << 20


async def test_a_source_is_created_after_its_companion_topics(admin):
    """A worker that starts in between must find a changelog partition for each source partition."""
    planned = plan(app.topology, wanted_topics(app.topology), {})
    order = [change.topic for change in planned.changes]
    for source in app.topology.topics:
        assert order.index(source.dlq) < order.index(source.name)
        for group in app.topology.groups(source):
            assert order.index(source.changelog(group)) < order.index(source.name)


async def test_growing_includes_dlq_and_changelog_and_needs_consent(admin):
    """Growth moves keys between partitions, whose tables do not know each other's ids and entries."""
    await _apply_all(admin)
    topics = (replace(MODEL_METRICS, partitions=6), *app.topology.topics[1:])
    grown = replace(app.topology, topics=topics)
    present, tables = await admin.describe_topics(), {"model.metrics": ("n", "totals")}
    planned = plan(grown, wanted_topics(grown), present, tables=tables)
    assert _differences(planned) == [
        (DLQ, DifferenceKind.GROW, "partitions", "4", "6"),
        (f"{DLQ}.parked", DifferenceKind.GROW, "partitions", "4", "6"),
        ("dia.dia-replay.model.metrics.changelog", DifferenceKind.GROW, "partitions", "4", "6"),
        (CHANGELOG, DifferenceKind.GROW, "partitions", "4", "6"),
        ("model.metrics", DifferenceKind.GROW, "partitions", "4", "6"),
    ]
    assert [one.why for one in planned.dedupe_gaps] == [
        "moves keys, so it needs --accept-dedupe-gap; their entries stay behind in n, totals"
    ]
    with pytest.raises(
        RefusedBySafety, match=r"growing model\.metrics from 4 to 6 .* Entries of n, totals stay"
    ):
        await apply(admin, planned)
    assert (await admin.describe_topics())["model.metrics"].partitions == 4
    await apply(admin, planned, accept_dedupe_gap=True)
    present = await admin.describe_topics()
    assert [present[name].partitions for name in (DLQ, CHANGELOG, "model.metrics")] == [6, 6, 6]


async def test_growing_only_a_dlq_moves_no_key_of_a_source(admin):
    """A DLQ with too few partitions is repaired without a consent."""
    await admin.create_topics([TopicConfig(DLQ, 2, 1, {})])
    await _apply_all(admin)
    assert (await admin.describe_topics())[DLQ].partitions == 4


async def test_companion_topics_follow_a_source_that_an_operator_made_larger(admin):
    """A worker needs a DLQ and a changelog partition for each source partition. Without them the
    new partitions stay unread, and Kafka cannot remove partitions.
    """
    await _apply_all(admin)
    await admin.create_partitions({"model.metrics": 6})
    planned = plan(app.topology, wanted_topics(app.topology), await admin.describe_topics())
    assert ("model.metrics", DifferenceKind.LEAVE, "partitions", "6", "4") in _differences(planned)
    assert planned.dedupe_gaps == ()
    await apply(admin, planned)
    present = await admin.describe_topics()
    for name in (*app.topology.companions(MODEL_METRICS), "model.metrics"):
        assert present[name].partitions == 6, name
    again = plan(app.topology, wanted_topics(app.topology), present)
    assert again.to_do == again.refused == ()


async def test_the_topic_of_results_grows_with_the_topic_of_requests(admin):
    """The result of a request goes to the partition with the request's number."""
    await _apply_all(admin)
    await admin.create_partitions({SIMULATION_REQUEST.name: 5})
    larger = plan(app.topology, wanted_topics(app.topology), await admin.describe_topics())
    await apply(admin, larger, accept_dedupe_gap=True)
    present = await admin.describe_topics()
    for name in (SIMULATION_RESULT.name, f"{SIMULATION_RESULT.name}.dlq"):
        assert present[name].partitions == 5, name


async def test_a_dlq_that_was_made_larger_gets_a_journal_for_each_of_its_partitions(admin):
    """The decision about a dead letter is in the journal partition with the dead letter's number."""
    await _apply_all(admin)
    await admin.create_partitions({DLQ: 6})
    await _apply_all(admin)
    present = await admin.describe_topics()
    assert present[MODEL_METRICS.journal].partitions == 6
    assert present["model.metrics"].partitions == 4


async def test_a_refused_change_does_not_block_the_others(admin):
    """A refused change of one topic must not block the others."""
    await admin.create_topics([TopicConfig("model.metrics", 8, 1, {})])
    named = {("model.metrics", "partitions")}
    planned = plan(app.topology, wanted_topics(app.topology), await admin.describe_topics(), named)
    assert [(c.topic, c.setting) for c in planned.refused] == [("model.metrics", "partitions")]
    with pytest.raises(RefusedBySafety, match=r"model\.metrics partitions from 8 to 4"):
        await apply(admin, planned)
    present = await admin.describe_topics()
    assert set(present) == NAMES
    assert (present["model.metrics"].partitions, present[DLQ].partitions) == (8, 8)
    assert present["model.metrics"].config["message.timestamp.type"] == "LogAppendTime"


async def test_a_growth_without_consent_does_not_block_the_others(admin):
    """The chart's hook runs `topics apply`: a new topic must not wait for the consent to the growth
    of another.
    """
    await admin.create_topics([TopicConfig("model.metrics", 2, 1, {})])
    with pytest.raises(RefusedBySafety, match=r"growing model\.metrics from 2 to 4"):
        await _apply_all(admin)
    present = await admin.describe_topics()
    assert set(present) == NAMES
    assert (present["model.metrics"].partitions, present[DLQ].partitions) == (2, 4)


@pytest.mark.parametrize(
    ("topic", "setting", "now", "kind"),
    [
        ("model.metrics", "retention.ms", "999999999999", DifferenceKind.LEAVE),
        ("model.metrics", "retention.ms", "-1", DifferenceKind.LEAVE),
        ("model.metrics", "retention.ms", "1000", DifferenceKind.CONFIGURE),
        (DLQ, "retention.bytes", "-1", DifferenceKind.LEAVE),
        (DLQ, "retention.ms", "1000", DifferenceKind.CONFIGURE),
        (CHANGELOG, "cleanup.policy", "compact", DifferenceKind.CONFIGURE),
        (CHANGELOG, "max.message.bytes", "65536", DifferenceKind.CONFIGURE),
        (CHANGELOG, "unclean.leader.election.enable", "true", DifferenceKind.CONFIGURE),
        ("model.metrics", "message.timestamp.type", "CreateTime", DifferenceKind.CONFIGURE),
        ("model.metrics", "max.message.bytes", "1000", DifferenceKind.CONFIGURE),
        ("model.metrics", "max.message.bytes", "99999999", DifferenceKind.LEAVE),
        ("model.metrics", "min.insync.replicas", "2", DifferenceKind.CONFIGURE),
    ],
)
async def test_each_setting_that_differs_is_listed(admin, topic, setting, now, kind):
    """A larger value of an operator is accepted; a smaller one is corrected."""
    await _apply_all(admin)
    await admin.alter_config(topic, {setting: now})
    planned = plan(app.topology, wanted_topics(app.topology), await admin.describe_topics())
    assert [(c.topic, c.kind, c.setting, c.now) for c in planned.changes] == [
        (topic, kind, setting, now)
    ]
    assert (planned.changes[0].why != "") == (kind is DifferenceKind.LEAVE)
    await apply(admin, planned)
    left = plan(app.topology, wanted_topics(app.topology), await admin.describe_topics())
    assert left.changes == (planned.changes if kind is DifferenceKind.LEAVE else ())


async def test_more_in_sync_replicas_than_declared_are_left_while_the_topic_can_be_written(admin):
    """An operator may require every replica to be in sync; a topic that requires more than exist
    accepts no record.
    """
    three = wanted_topics(app.topology, replication_factor=3)
    await apply(admin, plan(app.topology, three, {}))
    for now, kind in (("3", DifferenceKind.LEAVE), ("4", DifferenceKind.CONFIGURE)):
        await admin.alter_config("model.metrics", {"min.insync.replicas": now})
        [change] = plan(app.topology, three, await admin.describe_topics()).changes
        assert (change.kind, change.now, change.wanted) == (kind, now, "2")


async def test_a_shorter_retention_that_an_operator_names_is_refused(admin):
    """It would delete records at once: this command never does that, only Kafka's own tools."""
    await _apply_all(admin)
    await admin.alter_config("model.metrics", {"retention.ms": "-1"})
    named = {("model.metrics", "retention.ms")}
    planned = plan(app.topology, wanted_topics(app.topology), await admin.describe_topics(), named)
    with pytest.raises(RefusedBySafety, match=r"retention\.ms from -1 to 604800000"):
        await apply(admin, planned)
    assert (await admin.describe_topics())["model.metrics"].config["retention.ms"] == "-1"


async def test_three_replicas_are_written_to_two(admin):
    """A single copy could be lost with its disk."""
    wanted = wanted_topics(app.topology, replication_factor=3)
    assert {topic.config["min.insync.replicas"] for topic in wanted} == {"2"}
    await apply(admin, plan(app.topology, wanted, await admin.describe_topics()))
    present = await admin.describe_topics()
    assert {topic.config["min.insync.replicas"] for topic in present.values()} == {"2"}
    assert [majority(factor) for factor in range(1, 6)] == [1, 1, 2, 2, 3]


@pytest.mark.parametrize("min_insync", [0, 2])
async def test_missing_replicas_are_reported_and_not_required(admin, min_insync):
    """Only a reassignment adds replicas, and a topic that waits for two of one accepts no record."""
    await _apply_all(admin)
    safer = Durability(replication_factor=3, min_insync=min_insync)
    planned = plan(
        app.topology, wanted_topics(app.topology, durability=safer), await admin.describe_topics()
    )
    assert {(c.kind, c.setting, c.now, c.wanted) for c in planned.changes} == {
        (DifferenceKind.LEAVE, "replication factor", "1", "3")
    }
    assert "kafka-reassign-partitions" in planned.changes[0].why
    await apply(admin, planned)


async def test_settings_outside_the_topology_are_left_alone(admin):
    """Operators tune compression or segment sizes; a plan must keep them."""
    await _apply_all(admin)
    await admin.alter_config("model.metrics", {"compression.type": "zstd"})
    await admin.create_topics([TopicConfig("someone.elses", 1, 1, {})])
    assert (
        plan(app.topology, wanted_topics(app.topology), await admin.describe_topics()).changes == ()
    )
