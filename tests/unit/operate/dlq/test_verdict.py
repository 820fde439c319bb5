"""Whether a dead letter would pass today, as a plan shows before it sends anything."""

from __future__ import annotations

import json

import pytest

from agents.app import MODEL_METRICS, app
from streams.connect.broker.memory.broker import MemoryBroker
from streams.core.clock import SystemClock
from streams.core.errors import RecordLost
from streams.core.topics.topic import DLQ_MESSAGE_BYTES
from streams.core.types import OutboundRecord, RecordBatch, TopicConfig, TopicPartition
from streams.engine.decode.codecs import Limits
from streams.engine.runtime.effects.dead_letters import Failure, Origin, dead_letter
from streams.operate.dlq.dead_letter import letters, refetch
from streams.operate.dlq.verdict import verdicts

T = 1_700_000_000_000
LIMITS = Limits(300, 604_800)
GOOD = b'{"tenant_id":"t","model_id":"m","metric":"x","ts":%d,"value":1.5}' % T
TP = TopicPartition(MODEL_METRICS.name, 0)


@pytest.fixture
async def broker():
    made = MemoryBroker(SystemClock())
    admin = await made.admin()
    await admin.create_topics([TopicConfig(MODEL_METRICS.name, 1, 1, {})])
    return made


@pytest.fixture
async def reader(broker):
    found = await broker.reader()
    yield found
    await found.close()


def buried(value, *, headers=(), code="wrong_type", stage="decode", topic=TP.topic, key=b"t"):
    origin = Origin(
        tp=TopicPartition(topic, 0), offset=0, timestamp_ms=T, key=key, value=value,
        headers=headers, dlq=TopicPartition(f"{topic}.dlq", 0), id=f"{topic}/0/0",
    )  # fmt: skip
    failure = Failure(
        code=code, message="", stage=stage, agent="a", group="g", attempts=1, first_failed_ms=T
    )
    record = dead_letter(origin, failure).record
    batch = RecordBatch(record.tp, 0, 1, [0], [T], [record.key], [record.value], [record.headers])
    return letters(batch, app.topology)[0]


async def test_each_dead_letter_is_judged_by_the_current_code(reader):
    """A fixed schema shows in the plan; a record that still fails gets the path of the fault."""
    found = await verdicts(
        reader,
        [buried(GOOD), buried(GOOD.replace(b"1.5", b'"x"')), buried(GOOD, key=b"u")],
        LIMITS,
    )
    assert [verdict.passes for verdict in found] == [True, False, False]
    assert (found[1].code, found[1].path) == ("wrong_type", "$.value")
    assert found[2].code == "key_mismatch"


async def test_a_dead_letter_is_judged_by_its_first_append_time(reader):
    """The wait in the DLQ does not make a record late."""
    late = GOOD.replace(b"%d" % T, b"%d" % (T - 604_800_001))
    found = await verdicts(reader, [buried(GOOD), buried(late)], LIMITS)
    assert [verdict.code for verdict in found] == ["", "timestamp_too_old"]


@pytest.mark.parametrize(
    ("letter", "code"),
    [
        (buried(b"{}", stage="sink", code="row_refused"), "row_of_a_table"),
        (buried(GOOD, topic="orders"), "source_unknown"),
        (buried(GOOD, code="idempotency_conflict", stage="process"), "idempotency_conflict"),
    ],
)
async def test_the_verdict_of_a_foreign_record_is_unknown(reader, letter, code):
    """The plan says "unknown" instead of a guess."""
    [verdict] = await verdicts(reader, [letter], LIMITS)
    assert (verdict.passes, verdict.code) == (None, code)


async def test_a_record_that_its_agent_always_refuses_still_fails(reader):
    """A `stage_transitioned` event without its field `stage` decodes, and its agent refuses it at
    each replay.
    """
    result = {
        "result_id": "x", "run_id": "r", "tenant_id": "t", "model_id": "m", "version": "1",
        "event": "stage_transitioned", "metrics": {}, "ts": T,
    }  # fmt: skip
    bad, good = (json.dumps({**result, **more}).encode() for more in ({}, {"stage": "live"}))
    found = await verdicts(
        reader,
        [buried(value, topic="train.results", key=b"m") for value in (bad, good)],
        LIMITS,
    )
    assert [(verdict.passes, verdict.path) for verdict in found] == [(False, "$.stage"), (True, "")]


async def test_the_verdict_of_a_record_that_failed_after_decoding_is_unknown(reader):
    """The record decoded then and decodes today, which does not predict the agent's result."""
    [verdict] = await verdicts(reader, [buried(GOOD, code="away", stage="process")], LIMITS)
    assert (verdict.passes, verdict.code) == (None, "away")


async def appended(broker, value: bytes) -> None:
    producer = broker.transactional_producer("w")
    await producer.start()
    await producer.begin()
    await (await producer.send(OutboundRecord(TP, b"t", value, (("trace", b"x"),), T)))
    await producer.commit()


def pointer_to(value: bytes):
    """A dead letter whose headers made it too large for the DLQ."""
    letter = buried(value, headers=(("trace", b"x" * DLQ_MESSAGE_BYTES),))
    assert letter.value is None
    return letter


async def test_a_pointer_is_resolved_from_its_source(broker, reader):
    """The DLQ never held the value; the source topic has it, with all headers."""
    letter = pointer_to(GOOD)
    await appended(broker, GOOD)
    assert (await refetch(reader, letter)) == (b"t", GOOD, (("trace", b"x"),), T)
    assert (await verdicts(reader, [letter], LIMITS))[0].passes


async def test_a_pointer_to_nothing_or_to_another_record_is_lost(broker, reader):
    """The record at the offset today is another event and must not be replayed."""
    letter = pointer_to(GOOD)
    with pytest.raises(RecordLost, match="no longer holds offset 0"):
        await refetch(reader, letter)
    await appended(broker, GOOD + b" ")
    with pytest.raises(RecordLost, match="another record"):
        await refetch(reader, letter)
    [verdict] = await verdicts(reader, [letter], LIMITS)
    assert (verdict.passes, verdict.code) == (False, "record_lost")
