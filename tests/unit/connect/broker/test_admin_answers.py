"""Answers of Kafka 4 to admin requests: no error counts as an empty answer."""

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
def made(monkeypatch):
    """Makes an admin that gets the given answers."""
    monkeypatch.setattr(kafka_admin, "POLL_S", 0.0)
    monkeypatch.setattr(kafka_admin, "SPREAD_TIMEOUT_S", 0.0)
    monkeypatch.setattr(kafka_admin, "UNKNOWN_AFTER_S", 0.0)

    def make(*answers):
        admin = KafkaAdmin(CONNECTION)
        admin._client._client = ScriptedClient()
        admin._client._client.script(FindCoordinatorResponse_v1(0, 0, None, 1, "h", 1), *answers)
        return admin

    return make


@pytest.fixture
async def admin(made):
    return made()


@pytest.fixture
def script(admin):
    return admin._client._client.script


async def without_error(made, codes, answers, ask):
    """The codes whose ``answers(code)`` raise no `DiaError`. One test asks about all of them, because a test a
    code takes longer than its request."""
    found = []
    for code in codes:
        try:
            await ask(made(*answers(code)))
        except DiaError:
            continue
        found.append(code)
    return found


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
    """The other tests vary this valid answer."""
    script(offsets((0, 42, 0), (1, -1, 0)))
    found = await admin.committed("g", [TP, TopicPartition(TOPIC, 1)])
    assert found == {TP: CommittedOffset(42, "m")}


@pytest.mark.parametrize("stable", [True, False])
def test_the_request_contains_the_flag_for_stable_offsets(stable):
    """The bytes of OffsetFetch v7, by the protocol's grammar."""
    struct = OffsetFetch("g", [TP], stable=stable).prepare({9: (1, 10)})
    assert struct.encode() == b"\x02g\x02\x02t\x02\x00\x00\x00\x00\x00" + bytes([stable, 0])
    assert (struct.API_VERSION, struct.FLEXIBLE_VERSION) == (7, True)


async def test_a_coordinator_that_is_not_ready_is_requested_again(made):
    """Its answer has no topics, which must not count as a group without offsets."""
    for code in set(PASSING) - {UNKNOWN_TOPIC}:
        admin = made(offsets(code=code), offsets((0, 42, code)), offsets((0, 42, 0)))
        assert await admin.committed("g", [TP]) == {TP: CommittedOffset(42, "m")}, code


@pytest.mark.parametrize("whole", [True, False], ids=["answer", "partition"])
async def test_a_permanent_refusal_is_an_error(made, whole):
    """The changelog check, shed returns and edges rely on this answer."""

    def answers(code):
        return [offsets(code=code) if whole else offsets((0, -1, code))]

    assert await without_error(made, LASTING, answers, lambda one: one.committed("g", [TP])) == []


async def test_a_partition_missing_in_the_answer_is_requested_again(admin, script):
    """Only offset -1 means that the group has no committed offset."""
    script(offsets((1, 7, 0)), offsets(), offsets((0, 42, 0)))
    assert await admin.committed("g", [TP]) == {TP: CommittedOffset(42, "m")}


async def test_offsets_of_partitions_that_commit_in_turn_are_collected(admin, script):
    """With a thousand partitions that commit every second, some transaction is always open."""
    other = TopicPartition(TOPIC, 1)
    script(offsets((0, 42, 88), (1, 7, 0)), offsets((0, 43, 0)))
    found = await admin.committed("g", [TP, other])
    assert found == {TP: CommittedOffset(43, "m"), other: CommittedOffset(7, "m")}


async def test_a_permanent_refusal_is_not_hidden_by_a_transient_one(admin, script):
    """Otherwise a missing permission would look like a slow broker."""
    script(offsets((0, -1, 88), (1, -1, 29)))
    with pytest.raises(BrokerUnavailable, match=r"(?i)authoriz"):
        await admin.committed("g", [TP, TopicPartition(TOPIC, 1)])


@pytest.mark.parametrize("code", COORDINATOR)
async def test_a_coordinator_that_is_not_found_is_an_error(admin, code):
    """Without a coordinator no broker was asked."""
    found = FindCoordinatorResponse_v1(0, code, None, -1, "", -1)
    admin._client._client.answers[found.API_KEY] = [found]
    with pytest.raises(BrokerUnavailable):
        await admin.committed("g", [TP])


# --- topics ------------------------------------------------------------------------------------


async def test_topics_are_described(admin, script):
    """Only configuration set on the topic itself is returned."""
    script(metadata(topic()), configs())
    assert await admin.describe_topics() == {TOPIC: TopicConfig(TOPIC, 2, 3, {"retention.ms": "1"})}


@pytest.mark.parametrize(
    "refused",
    [metadata(topic(code=5, partitions=0)), metadata(topic(partitions=0))],
    ids=["no leader", "no partitions"],
)
async def test_a_topic_without_partitions_is_requested_again(admin, script, refused):
    """Otherwise the topic would be planned, audited and shown without partitions."""
    script(refused, metadata(topic()), configs())
    assert (await admin.describe_topics())[TOPIC].partitions == 2


async def test_a_topic_that_is_being_deleted_is_not_described(admin, script):
    """The list of topics may still contain it, without a leader or a partition."""
    script(metadata(topic("gone", code=UNKNOWN_TOPIC, partitions=0), topic()), configs())
    assert [*await admin.describe_topics()] == [TOPIC]


async def test_a_topic_that_is_refused_is_an_error(made):
    """A topic without permission does not count as absent."""
    codes = [code for code in LASTING if code != UNKNOWN_TOPIC]

    def answers(code):
        return metadata(topic(code=code)), configs()

    assert await without_error(made, codes, answers, KafkaAdmin.describe_topics) == []


async def test_a_refused_read_of_configuration_is_an_error(made):
    """Otherwise the topic would seem to have no configuration, and a plan would set it again."""

    def answers(code):
        return metadata(topic()), configs(code=code)

    assert await without_error(made, LASTING, answers, KafkaAdmin.describe_topics) == []


async def test_missing_configuration_is_requested_again(admin, script):
    """An answer for another topic does not count."""
    script(metadata(topic()), configs(name="other"), configs())
    assert (await admin.describe_topics())[TOPIC].config == {"retention.ms": "1"}


async def test_a_missing_cluster_id_is_requested_again(admin, script):
    """Otherwise a plan would be bound to the cluster "None"."""
    script(metadata(cluster=None), metadata(cluster="c"))
    assert await admin.cluster_id() == "c"


async def test_a_topic_that_is_not_created_is_an_error(made):
    """Code 36 means that the topic exists."""
    codes = [code for code in LASTING if code != 36]

    def answers(code):
        return metadata(topic()), CreateTopicsResponse_v3(0, [(TOPIC, code, None)])

    def create(admin):
        return admin.create_topics([TopicConfig(TOPIC, 1, 1, {})])

    assert await without_error(made, codes, answers, create) == []


async def test_a_refused_change_of_configuration_is_an_error(made):
    """A refused value must not appear as set."""

    def answers(code):
        return [AlterResponse(0, [(code, "why", 2, TOPIC)])]

    def alter(admin):
        return admin.alter_config(TOPIC, {"retention.ms": "1"})

    assert await without_error(made, LASTING, answers, alter) == []


# --- trimming ----------------------------------------------------------------------------------


async def test_a_log_is_trimmed(admin, script):
    """One request with the given offset."""
    script(metadata(topic()), trimmed())
    await admin.delete_records({TP: 5})
    assert _trims(admin) == [5]


async def test_an_offset_ahead_of_the_leader_is_not_replaced_by_another(admin, script):
    """A new leader may be behind: a trim "up to the end" would delete live commits."""
    script(metadata(topic()), trimmed(code=1))
    with pytest.raises(BrokerUnavailable, match="Nothing was deleted"):
        await admin.delete_records({TP: 1000})
    assert _trims(admin) == [1000]


async def test_a_trim_with_a_transient_error_is_repeated(made):
    """The repeated request has the same offset, so it is idempotent."""
    for code in set(PASSING) - {UNKNOWN_TOPIC}:
        admin = made(metadata(topic()), trimmed(code=code), trimmed())
        await admin.delete_records({TP: 5})
        assert _trims(admin) == [5, 5], code


async def test_a_trim_that_is_refused_is_an_error(made):
    """Causes are a topic without deletion and a missing permission."""

    def answers(code):
        return metadata(topic()), trimmed(code=code)

    assert await without_error(made, FINAL, answers, lambda one: one.delete_records({TP: 5})) == []


async def test_a_trim_without_an_answer_for_the_partition_is_repeated(admin, script):
    """The leader deleted nothing and reported nothing."""
    script(metadata(topic()), DeleteRecordsResponse_v2(0, [], {}), trimmed())
    await admin.delete_records({TP: 5})
    assert _trims(admin) == [5, 5]


def _trims(admin):
    """The offsets of the DeleteRecords requests, in order."""
    requests = [
        r for r in admin._client._client.asked if type(r).__name__ == "DeleteRecordsRequest"
    ]
    built = [r.prepare({21: (0, 2)}) for r in requests]
    return [partitions[0][1] for r in built for _, partitions, *_ in r.topics]
