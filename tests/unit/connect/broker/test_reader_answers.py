"""Answers of Kafka 4 to a fetch and to ListOffsets."""

from __future__ import annotations

import aiokafka.errors as client
import pytest
from aiokafka.protocol.fetch import FetchResponse_v4, FetchResponse_v11
from aiokafka.protocol.offset import OffsetResponse_v3, OffsetResponse_v5

from streams.connect.broker.kafka import reader as kafka_reader
from streams.connect.broker.kafka.reader import ONE_BYTES, READ_BYTES, SEARCH_BYTES, KafkaReader
from streams.connect.broker.kafka.requests import patience as kafka_patience
from streams.connect.broker.kafka.requests.codes import passes
from streams.core.errors import BrokerUnavailable, DiaError, UnknownTopic
from streams.core.process.process_memory import MMAP_THRESHOLD_BYTES
from streams.core.types import LogBounds, OffsetOutOfRange, TopicPartition
from tests.unit.connect.broker.scripted import ALL_CODES, CONNECTION, TOPIC, ScriptedClient, records

TP = TopicPartition(TOPIC, 0)
PASSING = [code for code in ALL_CODES if passes(client.for_code(code)())]
FINAL = [code for code in ALL_CODES if code not in PASSING and code != 1]


@pytest.fixture
def made(monkeypatch):
    """Makes a reader that gets the given answers."""
    monkeypatch.setattr(kafka_reader, "RETRY_S", 0.0)

    def make(*answers):
        reader = KafkaReader(CONNECTION)
        reader._client = ScriptedClient()
        reader._client.script(*answers)
        return reader

    return make


@pytest.fixture
async def reader(made):
    return made()


def fetched(data=b"", *, stable=10, code=0, partition=0, whole=0, throttle_ms=0, aborted=()):
    answer = (partition, code, stable, stable, 0, list(aborted), -1, data)
    return FetchResponse_v11(throttle_ms, whole, 0, [(TOPIC, [answer])])


def listed(offset, *, code=0):
    return listed_both((0, code, offset))


def listed_both(*entries, throttle_ms=0):
    """``entries`` are tuples of partition, code and offset."""
    told = [(partition, code, -1, offset) for partition, code, offset in entries]
    return OffsetResponse_v3(throttle_ms, [(TOPIC, told)])


async def values(reader, offset=0):
    return (await reader.read(TP, offset)).values


async def test_records_are_returned(reader):
    """The other tests vary this valid answer."""
    reader._client.script(fetched(records(0, 2)))
    batch = await reader.read(TP, 0)
    assert (batch.values, batch.offsets, batch.end) == ([b"v0", b"v1"], [0, 1], 2)


@pytest.mark.parametrize(("records_max", "room"), [(1, ONE_BYTES), (2, READ_BYTES)])
async def test_for_one_record_a_small_answer_is_asked_for(reader, records_max, room):
    """To bisect a changelog for the commit of an event took twenty answers of 8 MiB."""
    reader._client.script(fetched(records(0, 2)))
    await reader.read(TP, 0, records_max)
    [request] = reader._client.asked
    assert (request._max_bytes, request.topics) == (room, [(TOPIC, [(0, 0, room)])])


async def test_a_search_asks_for_answers_whose_memory_is_used_again(reader):
    """Above glibc's threshold the kernel clears new pages for every answer, a third of the CPU of receiving it."""
    reader._client.script(fetched(records(0, 2)))
    found = await reader.search(TP, 0, [b"v1"])
    assert (found.values, found.end) == ([b"v1"], 2)
    [request] = reader._client.asked
    assert request._max_bytes == SEARCH_BYTES < MMAP_THRESHOLD_BYTES


async def test_an_answer_of_an_older_version_is_read_by_its_names(reader):
    """Versions 4 to 11 add fields in the middle."""
    partition = (0, 0, 10, 10, None, records(0, 1))
    reader._client.script(FetchResponse_v4(0, [(TOPIC, [partition])]))
    assert await values(reader) == [b"v0"]


async def test_an_empty_answer_at_the_last_stable_offset_is_the_end(reader):
    """Only this empty answer may be returned to the caller."""
    reader._client.script(fetched(stable=7))
    batch = await reader.read(TP, 7)
    assert (len(batch), batch.end, len(reader._client.asked)) == (0, 7, 1)


async def test_an_empty_answer_below_the_last_stable_offset_is_retried(reader):
    """If it counted as the end, a restore would resume from an older state and count twice."""
    reader._client.script(fetched(), fetched(), fetched(records(0, 1)))
    assert await values(reader) == [b"v0"]


async def test_empty_answers_below_the_last_stable_offset_end_with_an_error(reader):
    """It must not be returned after the deadline either."""
    reader._client.script(fetched())
    with pytest.raises(BrokerUnavailable, match="stable up to 10"):
        await reader.read(TP, 0)


async def test_an_unknown_last_stable_offset_proves_no_end(reader):
    """Kafka writes -1 for an unknown offset."""
    reader._client.script(fetched(stable=-1), fetched(records(0, 1)))
    assert await values(reader) == [b"v0"]


async def test_a_batch_without_progress_ends_with_an_error(reader):
    """Otherwise the caller would fetch the same batch without a deadline."""
    reader._client.script(fetched(records(0, 2)))
    with pytest.raises(BrokerUnavailable):
        await reader.read(TP, 5)


async def test_a_throttled_answer_without_partitions_is_awaited(reader):
    """A client over its quota gets an answer without topics, and a throttle time."""
    throttled = FetchResponse_v11(20, 0, 0, [])
    reader._client.script(throttled, throttled, fetched(records(0, 1)))
    assert await values(reader) == [b"v0"]
    assert len(reader._client.asked) == 3


async def test_throttle_time_does_not_count_against_the_timeout(reader, monkeypatch):
    """A throttle time may be longer than the wait for a lost request."""
    waits = []

    async def sleep(seconds):
        waits.append(seconds)

    monkeypatch.setattr(kafka_patience.asyncio, "sleep", sleep)
    reader._client.script(*[FetchResponse_v11(9000, 0, 0, [])] * 3, fetched(records(0, 1)))
    assert await values(reader) == [b"v0"]
    assert [wait > 8 for wait in waits if wait] == [True] * 3


async def test_a_quota_that_never_ends_is_an_error(reader, monkeypatch):
    """Every wait has a deadline."""

    async def sleep(seconds):
        pass

    monkeypatch.setattr(kafka_patience.asyncio, "sleep", sleep)
    reader._client.script(FetchResponse_v11(11_000, 0, 0, []))
    with pytest.raises(BrokerUnavailable, match="throttled for 11 s"):
        await reader.read(TP, 0)


async def test_a_throttled_answer_with_records_delays_the_next_request(reader, monkeypatch):
    """The broker reads nothing from this connection meanwhile: an earlier request would time out."""
    waits = []

    async def sleep(seconds):
        waits.append(seconds)

    monkeypatch.setattr(kafka_patience.asyncio, "sleep", sleep)
    reader._client.script(fetched(records(0, 1), throttle_ms=5000), fetched(records(1, 1)))
    assert await values(reader) == [b"v0"]
    assert waits == []
    assert await values(reader, 1) == [b"v1"]
    assert [wait > 4 for wait in waits] == [True]


async def test_an_answer_for_another_partition_is_ignored(reader):
    """Causes are two clients behind one proxy, or a mixed-up fetch session."""
    reader._client.script(fetched(records(0, 1), partition=1), fetched(records(0, 2)))
    assert await values(reader) == [b"v0", b"v1"]


@pytest.mark.parametrize("whole", [False, True], ids=["partition", "answer"])
async def test_transient_codes_are_retried(made, whole):
    """Causes are a moving leader, an expired session, an offset that is not known yet."""
    for code in PASSING:
        refused = fetched(whole=code) if whole else fetched(code=code)
        assert await values(made(refused, fetched(records(0, 1)))) == [b"v0"], code


async def test_other_codes_are_errors_and_never_an_empty_batch(made):
    """No code may count as the end of the log."""
    for code in FINAL:
        reader = made(fetched(code=code))
        with pytest.raises(Exception) as raised:
            await reader.read(TP, 0)
        assert isinstance(raised.value, DiaError), code
        assert len(reader._client.asked) == 1, code


async def test_an_offset_outside_the_log_is_named(reader):
    """A2 to A4 decide by this error."""
    reader._client.script(fetched(code=1))
    with pytest.raises(OffsetOutOfRange):
        await reader.read(TP, 0)


async def test_a_partition_that_stays_unknown_is_named(reader):
    """The message contains the command that creates the topic."""
    reader._client.script(fetched(code=3))
    with pytest.raises(UnknownTopic, match="dia topics apply"):
        await reader.read(TP, 0)


async def test_an_offset_is_read_by_its_name(reader):
    """Since version 4 the leader epoch follows the offset."""
    reader._client.script(OffsetResponse_v5(0, [(TOPIC, [(0, 0, -1, 42, 7)])]))
    assert await reader.last_stable_offset(TP) == 42


async def test_an_unknown_offset_is_requested_again(reader):
    """-1 would count as a log that ends before it begins."""
    reader._client.script(listed(-1), listed(5))
    assert await reader.beginning_offset(TP) == 5


async def test_transient_codes_of_offsets_are_retried(made):
    """A new leader refuses to give its end until its followers have confirmed it."""
    for code in PASSING:
        assert await made(listed(-1, code=code), listed(5)).last_stable_offset(TP) == 5, code


async def test_other_codes_of_offsets_are_errors(made):
    """No code may count as an offset."""
    for code in (1, *FINAL):
        with pytest.raises(Exception) as raised:
            await made(listed(-1, code=code)).last_stable_offset(TP)
        assert isinstance(raised.value, DiaError), code


BOTH = [TP, TopicPartition(TOPIC, 1)]


def asked_for(reader):
    """The partitions of each ListOffsets request."""
    return [
        [partition for _, partitions in request._topics for partition, _ in partitions]
        for request in reader._client.asked
    ]


async def test_offsets_of_many_partitions_take_one_request(reader):
    """One request per partition would take 1 s for every ten partitions of a distant cluster."""
    reader._client.script(
        listed_both((1, 0, 3), (0, 0, 2)),
        listed_both((0, 0, 7), (1, 0, 8)),
    )
    assert await reader.bounds(BOTH) == {BOTH[0]: LogBounds(2, 7), BOTH[1]: LogBounds(3, 8)}
    assert asked_for(reader) == [[0, 1], [0, 1]]


@pytest.mark.parametrize(
    "rest", [[], [(1, 6, -1)], [(1, 0, -1)]], ids=["left out", "no leader", "not known"]
)
async def test_only_missing_offsets_are_requested_again(reader, rest):
    """One partition without a leader must not delay the others."""
    reader._client.script(
        listed_both((0, 0, 2), *rest),
        listed_both((1, 0, 3)),
        listed_both((0, 0, 7), (1, 0, 8)),
    )
    assert await reader.bounds(BOTH) == {BOTH[0]: LogBounds(2, 7), BOTH[1]: LogBounds(3, 8)}
    assert asked_for(reader) == [[0, 1], [1], [0, 1]]


@pytest.mark.parametrize("codes", [(29, 6), (6, 29)])
async def test_a_permanent_refusal_is_raised_before_a_transient_one(reader, codes):
    """Otherwise the call would repeat until its deadline and name the wrong reason."""
    reader._client.script(listed_both(*((n, code, -1) for n, code in enumerate(codes))))
    with pytest.raises(BrokerUnavailable, match="TopicAuthorizationFailed"):
        await reader.bounds(BOTH)
    assert len(reader._client.asked) == 1


async def test_requests_for_many_partitions_have_a_bounded_size(reader, monkeypatch):
    """One request for ten thousand partitions would delay the leader's other clients."""
    monkeypatch.setattr(kafka_reader, "PARTITIONS_MAX", 1)
    reader._client.script(
        *(listed_both((partition, 0, end)) for end in (1, 5) for partition in (0, 1))
    )
    assert await reader.bounds(BOTH) == dict.fromkeys(BOTH, LogBounds(1, 5))
    assert asked_for(reader) == [[0], [1], [0], [1]]


async def test_a_search_skips_batches_without_the_bytes(reader):
    """The search ends after the unreadable batches."""
    reader._client.script(fetched(records(0, 2) + records(2, 3)))
    batch = await reader.search(TP, 0, [b"v3"])
    assert (batch.values, batch.offsets, batch.end) == ([b"v3"], [3], 5)
    nothing = await reader.search(TP, 0, [b"v9"])
    assert (len(nothing), nothing.end) == (0, 5)


async def test_an_empty_answer_does_not_end_a_search(reader):
    """Below the last stable offset the request is repeated, and then an error is raised."""
    reader._client.script(fetched(), fetched(records(0, 1)))
    assert (await reader.search(TP, 0, [b"v0"])).values == [b"v0"]
    silent = fetched()
    reader._client.answers.clear()
    reader._client.script(silent)
    with pytest.raises(BrokerUnavailable, match="stable up to 10"):
        await reader.search(TP, 0, [b"v0"])


@pytest.mark.parametrize("code", FINAL[:3])
async def test_codes_of_a_search_are_errors(reader, code):
    """No code may count as "nothing found"."""
    reader._client.script(fetched(code=code))
    with pytest.raises(DiaError):
        await reader.search(TP, 0, [b"v0"])


async def test_a_time_after_the_last_record_gives_the_end_of_the_log(reader):
    """Without an error, -1 for a time means the end; -1 for an end means unknown."""
    reader._client.script(listed(-1), listed(7))
    assert await reader.offsets_since([TP], 1000) == {TP: 7}
    reader._client.answers.clear()
    reader._client.script(listed(4))
    assert await reader.offsets_since([TP], 1000) == {TP: 4}


@pytest.mark.parametrize("code", FINAL[:3])
async def test_codes_of_an_offset_by_time_are_errors(reader, code):
    """-1 with an error code does not mean the end of the log."""
    reader._client.script(listed(-1, code=code))
    with pytest.raises(DiaError):
        await reader.offsets_since([TP], 1000)
