"""Every answer that Kafka 4 may give to administration: none is read as "there is nothing"."""

from __future__ import annotations

import aiokafka.errors as client
import pytest
from aiokafka.protocol.admin import (
    CreateTopicsResponse_v3,
    DeleteRecordsResponse_v2,
    DescribeConfigsResponse_v2,
)
from aiokafka.protocol.coordination import FindCoordinatorResponse_v1
from aiokafka.protocol.metadata import MetadataResponse_v5

from streams.connect.broker.kafka import admin as kafka_admin
from streams.connect.broker.kafka.admin import KafkaAdmin
from streams.connect.broker.kafka.requests.alter_config import _Response as AlterResponse
from streams.connect.broker.kafka.requests.codes import passes
from streams.connect.broker.kafka.requests.offset_fetch import OffsetFetch, _Response
from streams.core.errors import BrokerUnavailable, DiaError
from streams.core.types import CommittedOffset, TopicConfig, TopicPartition
from tests.unit.connect.broker.scripted import ALL_CODES, CONNECTION, TOPIC, ScriptedClient

TP = TopicPartition(TOPIC, 0)
COORDINATOR = (14, 15, 16, 30)
UNKNOWN_TOPIC = 3
PASSING = [code for code in ALL_CODES if passes(client.for_code(code)())]
FINAL = [code for code in ALL_CODES if code not in PASSING]
LASTING = [*FINAL, UNKNOWN_TOPIC, 14, 16, 88]
"""A code that passes is asked about until the deadline: a few stand for all of them."""


@pytest.fixture
async def admin(monkeypatch):
    monkeypatch.setattr(kafka_admin, "POLL_S", 0.0)
    monkeypatch.setattr(kafka_admin, "SPREAD_TIMEOUT_S", 0.0)
    monkeypatch.setattr(kafka_admin, "UNKNOWN_AFTER_S", 0.0)
    made = KafkaAdmin(CONNECTION)
    made._client._client = ScriptedClient()
    made._client._client.script(FindCoordinatorResponse_v1(0, 0, None, 1, "h", 1))
    return made


@pytest.fixture
def script(admin):
    return admin._client._client.script


def offsets(*entries, code=0):
    partitions = [(number, offset, -1, "m", error, {}) for number, offset, error in entries]
    return _Response(0, [(TOPIC, partitions, {})] if entries else [], code, {})


def metadata(*topics, cluster="c"):
    return MetadataResponse_v5(0, [(1, "h", 1, None)], cluster, 1, list(topics))


def topic(name=TOPIC, *, code=0, partitions=2):
    held = [(0, number, 1, [1, 2, 3], [1], []) for number in range(partitions)]
    return (code, name, False, held)


def configs(*, name=TOPIC, code=0):
    entries = [
        ("retention.ms", "1", False, 1, False, []),
        ("segment.ms", "2", False, 5, False, []),
    ]
    return DescribeConfigsResponse_v2(0, [(code, None, 2, name, entries)])


def trimmed(*, code=0):
    return DeleteRecordsResponse_v2(0, [(TOPIC, [(0, 5, code, {})], {})], {})


# --- committed offsets -------------------------------------------------------------------------


async def test_a_committed_offset_comes_with_its_metadata(admin, script):
    """The script speaks the protocol's bytes: this is the answer all others are told from."""
    script(offsets((0, 42, 0), (1, -1, 0)))
    found = await admin.committed("g", [TP, TopicPartition(TOPIC, 1)])
    assert found == {TP: CommittedOffset(42, "m")}


@pytest.mark.parametrize("stable", [True, False])
def test_the_request_says_whether_it_wants_stable_offsets(stable):
    """Bytes of OffsetFetch v7, by the protocol's grammar."""
    struct = OffsetFetch("g", [TP], stable=stable).prepare({9: (1, 10)})
    assert struct.encode() == b"\x02g\x02\x02t\x02\x00\x00\x00\x00\x00" + bytes([stable, 0])
    assert (struct.API_VERSION, struct.FLEXIBLE_VERSION) == (7, True)


@pytest.mark.parametrize("code", PASSING)
async def test_a_coordinator_that_is_not_ready_is_asked_again(admin, script, code):
    """It answers without any topic, which must not pass for a group without offsets."""
    if code == UNKNOWN_TOPIC:
        return
    script(offsets(code=code), offsets((0, 42, code)), offsets((0, 42, 0)))
    assert await admin.committed("g", [TP]) == {TP: CommittedOffset(42, "m")}


@pytest.mark.parametrize("code", LASTING)
@pytest.mark.parametrize("whole", [True, False], ids=["answer", "partition"])
async def test_a_refusal_that_lasts_is_an_error(admin, script, code, whole):
    """The guard of the changelog, shed returns and edges all believe this answer."""
    script(offsets(code=code) if whole else offsets((0, -1, code)))
    with pytest.raises(DiaError):
        await admin.committed("g", [TP])


async def test_a_partition_that_is_left_out_is_asked_about_again(admin, script):
    """Only offset -1 says that nothing is committed."""
    script(offsets((1, 7, 0)), offsets(), offsets((0, 42, 0)))
    assert await admin.committed("g", [TP]) == {TP: CommittedOffset(42, "m")}


async def test_partitions_that_commit_in_turn_are_told_one_after_the_other(admin, script):
    """Of a thousand partitions that commit every second some transaction is always open."""
    other = TopicPartition(TOPIC, 1)
    script(offsets((0, 42, 88), (1, 7, 0)), offsets((0, 43, 0)))
    found = await admin.committed("g", [TP, other])
    assert found == {TP: CommittedOffset(43, "m"), other: CommittedOffset(7, "m")}


async def test_a_refusal_that_lasts_is_not_hidden_by_one_that_passes(admin, script):
    """Else a missing right would look like a broker that is slow."""
    script(offsets((0, -1, 88), (1, -1, 29)))
    with pytest.raises(BrokerUnavailable, match=r"(?i)authoriz"):
        await admin.committed("g", [TP, TopicPartition(TOPIC, 1)])


@pytest.mark.parametrize("code", COORDINATOR)
async def test_a_coordinator_that_is_not_found_is_an_error(admin, code):
    """Nobody was asked then."""
    found = FindCoordinatorResponse_v1(0, code, None, -1, "", -1)
    admin._client._client.answers[found.API_KEY] = [found]
    with pytest.raises(BrokerUnavailable):
        await admin.committed("g", [TP])


# --- topics ------------------------------------------------------------------------------------


async def test_topics_are_described(admin, script):
    """Only what was set on the topic itself."""
    script(metadata(topic()), configs())
    assert await admin.describe_topics() == {TOPIC: TopicConfig(TOPIC, 2, 3, {"retention.ms": "1"})}


@pytest.mark.parametrize(
    "refused",
    [metadata(topic(code=5, partitions=0)), metadata(topic(partitions=0))],
    ids=["no leader", "no partitions"],
)
async def test_a_topic_without_partitions_is_asked_about_again(admin, script, refused):
    """It would be planned, audited and shown as one of no partitions."""
    script(refused, metadata(topic()), configs())
    assert (await admin.describe_topics())[TOPIC].partitions == 2


async def test_a_topic_that_is_being_deleted_is_not_described(admin, script):
    """The list of all may still have it, without a leader or a partition."""
    script(metadata(topic("gone", code=UNKNOWN_TOPIC, partitions=0), topic()), configs())
    assert [*await admin.describe_topics()] == [TOPIC]


@pytest.mark.parametrize("code", [code for code in LASTING if code != UNKNOWN_TOPIC])
async def test_a_topic_that_is_refused_is_an_error(admin, script, code):
    """A topic that one may not see is not a topic that is absent."""
    script(metadata(topic(code=code)), configs())
    with pytest.raises(DiaError):
        await admin.describe_topics()


@pytest.mark.parametrize("code", LASTING)
async def test_configuration_that_is_refused_is_an_error(admin, script, code):
    """It was read as a topic on which nothing is set, and planned to be set anew."""
    script(metadata(topic()), configs(code=code))
    with pytest.raises(DiaError):
        await admin.describe_topics()


async def test_configuration_that_is_left_out_is_asked_for_again(admin, script):
    """An answer about another topic is none."""
    script(metadata(topic()), configs(name="other"), configs())
    assert (await admin.describe_topics())[TOPIC].config == {"retention.ms": "1"}


async def test_a_cluster_that_does_not_say_its_id_is_asked_again(admin, script):
    """A plan would be bound to the cluster "None"."""
    script(metadata(cluster=None), metadata(cluster="c"))
    assert await admin.cluster_id() == "c"


@pytest.mark.parametrize("code", [code for code in LASTING if code != 36])
async def test_a_topic_that_is_not_created_is_an_error(admin, script, code):
    """36 says that it exists."""
    script(metadata(topic()), CreateTopicsResponse_v3(0, [(TOPIC, code, None)]))
    with pytest.raises(DiaError):
        await admin.create_topics([TopicConfig(TOPIC, 1, 1, {})])


@pytest.mark.parametrize("code", LASTING)
async def test_configuration_that_is_not_changed_is_an_error(admin, script, code):
    """A value that was refused must not look set."""
    script(AlterResponse(0, [(code, "why", 2, TOPIC)]))
    with pytest.raises(DiaError):
        await admin.alter_config(TOPIC, {"retention.ms": "1"})


# --- trimming ----------------------------------------------------------------------------------


async def test_a_log_is_trimmed(admin, script):
    """One request, for the offset that was named."""
    script(metadata(topic()), trimmed())
    await admin.delete_records({TP: 5})
    assert _trims(admin) == [5]


async def test_an_offset_ahead_of_the_leader_is_not_replaced_by_another(admin, script):
    """A leader that just changed may be behind: "up to the end" would delete live commits."""
    script(metadata(topic()), trimmed(code=1))
    with pytest.raises(BrokerUnavailable, match="Nothing was deleted"):
        await admin.delete_records({TP: 1000})
    assert _trims(admin) == [1000]


@pytest.mark.parametrize("code", [code for code in PASSING if code != UNKNOWN_TOPIC])
async def test_a_trim_that_may_pass_is_asked_for_again(admin, script, code):
    """With the same offset: it may be done any number of times."""
    script(metadata(topic()), trimmed(code=code), trimmed())
    await admin.delete_records({TP: 5})
    assert _trims(admin) == [5, 5]


@pytest.mark.parametrize("code", FINAL)
async def test_a_trim_that_is_refused_is_an_error(admin, script, code):
    """A topic without deletion, an operator who may not delete."""
    script(metadata(topic()), trimmed(code=code))
    with pytest.raises(DiaError):
        await admin.delete_records({TP: 5})


async def test_a_trim_without_a_word_about_the_partition_is_asked_for_again(admin, script):
    """Nothing was done, and nothing said so."""
    script(metadata(topic()), DeleteRecordsResponse_v2(0, [], {}), trimmed())
    await admin.delete_records({TP: 5})
    assert _trims(admin) == [5, 5]


def _trims(admin):
    """The offsets that DeleteRecords was asked for, in turn."""
    requests = [
        r for r in admin._client._client.asked if type(r).__name__ == "DeleteRecordsRequest"
    ]
    built = [r.prepare({21: (0, 2)}) for r in requests]
    return [partitions[0][1] for r in built for _, partitions, *_ in r.topics]
