"""Topic settings of an installation, by DIA_TOPIC_*."""

from __future__ import annotations

import json

import pytest

from agents.app import MODEL_METRICS, TRAIN_RESULTS, app
from streams.cli import main
from streams.connect.broker.memory.broker import MemoryBroker
from streams.core.clock import VirtualClock
from streams.core.errors import RefusedBySafety, UsageError
from streams.core.settings import Settings
from streams.operate.topics.declared_topics import declared_topics
from streams.operate.topics.topics import DifferenceKind, apply


def topics(**settings):
    return {t.name: t for t in declared_topics(Settings(**settings), app.topology).topics}


def test_the_partitions_of_a_source_apply_to_its_companion_topics():
    """More events a second than four partitions can take are a common first problem."""
    found = topics(topic_partitions="model.metrics=12, train.results=6")
    for source, partitions in ((MODEL_METRICS, 12), (TRAIN_RESULTS, 6)):
        for name in (source.name, *app.topology.companions(source)):
            assert found[name].partitions == partitions, name
    assert found["decision.simulation.request"].partitions == 3


def test_retention_is_named_in_seconds_by_source():
    """A week of backlog is not enough for every user; -1 means unlimited, as in Kafka."""
    found = topics(topic_retention_s="model.metrics=1209600,train.results=-1")
    assert found["model.metrics"].config["retention.ms"] == "1209600000"
    assert found["train.results"].config["retention.ms"] == "-1"
    assert found["model.metrics.dlq"].config["retention.ms"] == "-1"


def test_a_larger_batch_of_a_source_fits_its_dlq_too():
    """The dead letter of every record must fit the DLQ."""
    found = topics(topic_message_bytes=4 << 20)
    assert found["model.metrics"].config["max.message.bytes"] == str(4 << 20)
    for source in app.topology.topics:
        limits = [
            int(found[name].config["max.message.bytes"])
            for name in (source.name, source.dlq, source.parked)
        ]
        assert limits == sorted(set(limits))


def test_replicas_and_elections_are_settings():
    """Every topic carries state or events, so all need the same durability."""
    safe = topics(topic_replication_factor=3)
    assert {t.replication_factor for t in safe.values()} == {3}
    assert {t.config["min.insync.replicas"] for t in safe.values()} == {"2"}
    assert {t.config["unclean.leader.election.enable"] for t in safe.values()} == {"false"}
    other = topics(
        topic_replication_factor=5, topic_min_insync_replicas=2, topic_unclean_election=1
    )
    assert {t.config["min.insync.replicas"] for t in other.values()} == {"2"}
    assert {t.config["unclean.leader.election.enable"] for t in other.values()} == {"true"}


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"topic_partitions": "model.metric=4"}, "'model.metric' is not a source topic"),
        ({"topic_partitions": "model.metrics.dlq=4"}, "not a source topic"),
        ({"topic_partitions": "model.metrics"}, "names no whole number"),
        ({"topic_partitions": "model.metrics=0"}, "out of range, allowed 1 to"),
        ({"topic_retention_s": "model.metrics=7d"}, "names no whole number"),
        ({"topic_retention_s": "model.metrics=0"}, "out of range"),
        ({"topic_message_bytes": 1000}, "DIA_TOPIC_MESSAGE_BYTES=1000 is less"),
    ],
)
def test_an_invalid_setting_is_refused(setting, said):
    """Otherwise a misspelt topic would make a setting without effect."""
    with pytest.raises(UsageError, match=said):
        declared_topics(Settings(**setting), app.topology)


async def test_a_setting_that_shrinks_a_topic_is_refused_and_a_smaller_default_is_ignored():
    """An explicit setting below the existing number is an error; a default leaves the larger topic
    alone.
    """
    admin = await MemoryBroker(VirtualClock()).admin()
    large = declared_topics(Settings(topic_partitions="model.metrics=8"), app.topology)
    await apply(admin, large.against(await admin.describe_topics()))
    present = await admin.describe_topics()
    [left] = declared_topics(Settings(), app.topology).against(present).changes
    assert (left.kind, left.topic, left.now, left.wanted) == (
        DifferenceKind.LEAVE,
        "model.metrics",
        "8",
        "4",
    )
    smaller = declared_topics(Settings(topic_partitions="model.metrics=6"), app.topology)
    with pytest.raises(RefusedBySafety, match=r"model\.metrics partitions from 8 to 6"):
        await apply(admin, smaller.against(present))


def test_render_follows_the_settings(monkeypatch, capsys):
    """Otherwise `dia topics apply` would report a difference to topics made from the rendered files
    each time.
    """
    monkeypatch.setenv("DIA_TOPIC_PARTITIONS", "model.metrics=12")
    monkeypatch.setenv("DIA_TOPIC_REPLICATION_FACTOR", "3")
    assert main(["topics", "render", "--json"]) == 0
    rendered = map(json.loads, capsys.readouterr().out.splitlines())
    specs = {one["spec"]["topicName"]: one["spec"] for one in rendered}
    assert specs["model.metrics.dlq"]["partitions"] == 12
    assert specs["model.metrics"]["replicas"] == 3
    assert specs["model.metrics"]["config"]["min.insync.replicas"] == "2"
