"""From the declared topics to the broker's: every difference named, nothing ever made smaller."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streams.broker.memory import MemoryBroker
from streams.clock import VirtualClock
from streams.errors import RefusedBySafety
from streams.topics import Kind, apply, plan, wanted_topics
from streams.topology import MODEL_METRICS, SOURCES
from streams.types import TopicConfig

DLQ = "model.metrics.dlq"
CHANGELOG = "dia.dia-group.model.metrics.changelog"


@pytest.fixture
async def admin():
    return await MemoryBroker(VirtualClock()).admin()


async def _apply_all(admin, sources=SOURCES) -> None:
    await apply(admin, plan(wanted_topics(sources), await admin.describe_topics()))


def _differences(planned) -> list[tuple[str, Kind, str, str, str]]:
    return [(c.topic, c.kind, c.setting, c.now, c.wanted) for c in planned.changes]


async def test_an_empty_broker_gets_every_topic_and_then_has_no_difference(admin):
    """Applying is how a deployment starts, and running it again must do nothing."""
    await _apply_all(admin)
    present = await admin.describe_topics()
    assert plan(wanted_topics(), present).changes == ()
    # Four sources with a DLQ, a parking lot and a journal each; the results topic has no
    # consumer, hence no changelog. And the one of the schedule.
    assert len(present) == 4 * 4 + 3 + 1
    assert present["model.metrics"].config["message.timestamp.type"] == "LogAppendTime"
    assert present[DLQ].config["message.timestamp.type"] == "CreateTime"
    assert present[DLQ].config["retention.ms"] == "-1"
    assert present[CHANGELOG].config["cleanup.policy"] == "delete"
    assert present[CHANGELOG].config["retention.bytes"] == "-1"
    for name, partitions in [("model.metrics", 4), (DLQ, 4), (CHANGELOG, 4), ("train.results", 3)]:
        assert present[name].partitions == partitions


def test_the_dlq_holds_any_record_of_its_source():
    """A record that fits the source, plus what is said about it, must always fit."""
    limits = {t.name: int(t.config.get("max.message.bytes", 0)) for t in wanted_topics()}
    for source in SOURCES:
        assert limits[source.dlq] == limits[source.name] + (64 << 10)
        assert limits[source.name] > 1 << 20


async def test_a_source_is_created_after_what_it_needs(admin):
    """A worker that starts in between must find a changelog for each source partition."""
    planned = plan(wanted_topics(), {})
    order = [change.topic for change in planned.changes]
    for source in SOURCES:
        assert order.index(source.dlq) < order.index(source.name)
        if source.group is not None:
            assert order.index(source.changelog(source.group)) < order.index(source.name)


async def test_growing_takes_dlq_and_changelog_along_and_must_be_accepted(admin):
    """Growth moves keys between partitions, whose tables do not know each other's ids."""
    await _apply_all(admin)
    grown = [replace(MODEL_METRICS, partitions=6), *SOURCES[1:]]
    planned = plan(wanted_topics(grown), await admin.describe_topics())
    assert _differences(planned) == [
        (DLQ, Kind.GROW, "partitions", "4", "6"),
        (f"{DLQ}.parked", Kind.GROW, "partitions", "4", "6"),
        ("dia.dia-replay.model.metrics.changelog", Kind.GROW, "partitions", "4", "6"),
        (CHANGELOG, Kind.GROW, "partitions", "4", "6"),
        ("model.metrics", Kind.GROW, "partitions", "4", "6"),
    ]
    with pytest.raises(RefusedBySafety, match=r"growing model\.metrics from 4 to 6"):
        await apply(admin, planned)
    assert (await admin.describe_topics())[DLQ].partitions == 4
    await apply(admin, planned, accept_dedupe_gap=True)
    present = await admin.describe_topics()
    assert [present[name].partitions for name in (DLQ, CHANGELOG, "model.metrics")] == [6, 6, 6]


async def test_growing_only_a_dlq_moves_no_key_of_a_source(admin):
    """A DLQ made too small by hand is repaired without ceremony."""
    await admin.create_topics([TopicConfig(DLQ, 2, 1, {})])
    await _apply_all(admin)
    assert (await admin.describe_topics())[DLQ].partitions == 4


async def test_shrinking_is_refused_and_nothing_else_is_done(admin):
    """Kafka cannot shrink a topic, and half a plan is worse than none."""
    await admin.create_topics([TopicConfig("model.metrics", 8, 1, {})])
    planned = plan(wanted_topics(), await admin.describe_topics())
    assert [c.setting for c in planned.refused] == ["partitions"]
    with pytest.raises(RefusedBySafety, match=r"model\.metrics partitions from 8 to 4"):
        await apply(admin, planned, accept_dedupe_gap=True)
    assert list(await admin.describe_topics()) == ["model.metrics"]


@pytest.mark.parametrize(
    ("topic", "setting", "now", "kind"),
    [
        ("model.metrics", "retention.ms", "999999999999", Kind.REFUSE),
        ("model.metrics", "retention.ms", "-1", Kind.REFUSE),
        ("model.metrics", "retention.ms", "1000", Kind.CONFIGURE),
        (DLQ, "retention.bytes", "-1", Kind.REFUSE),
        (DLQ, "retention.ms", "1000", Kind.CONFIGURE),
        (CHANGELOG, "cleanup.policy", "compact", Kind.CONFIGURE),
        ("model.metrics", "message.timestamp.type", "CreateTime", Kind.CONFIGURE),
        ("model.metrics", "max.message.bytes", "1000", Kind.CONFIGURE),
    ],
)
async def test_each_setting_that_differs_is_named(admin, topic, setting, now, kind):
    """A shorter retention deletes records at once, so it is never applied by us."""
    await _apply_all(admin)
    await admin.alter_config(topic, {setting: now})
    planned = plan(wanted_topics(), await admin.describe_topics())
    assert [(c.topic, c.kind, c.setting, c.now) for c in planned.changes] == [
        (topic, kind, setting, now)
    ]
    if kind is Kind.REFUSE:
        with pytest.raises(RefusedBySafety, match=setting):
            await apply(admin, planned)
    else:
        await apply(admin, planned)
        assert plan(wanted_topics(), await admin.describe_topics()).changes == ()


async def test_settings_the_topology_does_not_name_are_the_operators(admin):
    """Compression or segment sizes are tuned by hand; a plan must not undo it."""
    await _apply_all(admin)
    await admin.alter_config("model.metrics", {"compression.type": "zstd"})
    await admin.create_topics([TopicConfig("someone.elses", 1, 1, {})])
    assert plan(wanted_topics(), await admin.describe_topics()).changes == ()
