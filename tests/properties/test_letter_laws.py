"""Reading dead letters loses nothing, and every record can be shown."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agents.app import app
from streams.core.types import OutboundRecord, RecordBatch, TopicPartition
from streams.engine.runtime.effects.dead_letters import Failure, Origin, dead_letter
from streams.operate.dlq.dead_letter import DeadLetterRecord, letters
from streams.operate.dlq.dialects import DIA

names = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        [
            *("dia.dlq.id", "dia.dlq.pointer", "dia.dlq.topic", "dia.dlq.partition", "dia.schema"),
            *("dia.dlq.offset", "dia.replay.hops", "dia.dlq.replay_hops", "__connect.errors.topic"),
            *("__connect.errors.partition", "__streams.errors.offset", "__streams.errors.topic"),
            *("kafka_dlt-original-offset", "kafka_dlt-original-topic"),
        ]
    ),
)
raw = st.one_of(
    st.binary(max_size=12),
    st.sampled_from(
        [
            b"true",
            b"7",
            b"9" * 18,
            b"\x00\x00\x00\x05",
            *(s.name.encode() for s in app.topology.topics),
        ]
    ),
)
headers = st.lists(st.tuples(names, raw), max_size=8).map(tuple)
nullable = st.none() | st.binary(max_size=30)


def letter_of(record: OutboundRecord, offset: int = 3) -> DeadLetterRecord:
    batch = RecordBatch(record.tp, offset, offset + 1, [offset], [record.timestamp_ms or 0])
    batch.keys, batch.values, batch.headers = [record.key], [record.value], [record.headers]
    [letter] = letters(batch, app.topology)
    return letter


@given(key=nullable, value=nullable, own=headers, code=st.text(min_size=1, max_size=10))
def test_a_dead_letter_is_read_back_complete(key, value, own, code):
    """A replay sends these bytes: one different byte makes another record. Only the provenance of
    an earlier dead-lettering is dropped, so that copies from a DLQ do not grow."""
    origin = Origin(
        tp=TopicPartition("model.metrics", 2), offset=41, timestamp_ms=8, key=key, value=value,
        headers=own, dlq=TopicPartition("model.metrics.dlq", 2), id="model.metrics/2/41",
    )  # fmt: skip
    failure = Failure(
        code=code, message="because", stage="decode", agent="a", group="g", attempts=2,
        first_failed_ms=99,
    )  # fmt: skip
    letter = letter_of(dead_letter(origin, failure).record)
    kept = tuple(pair for pair in own if not pair[0].startswith("dia.dlq."))
    assert letter.original() == (key, value, kept, 8)
    assert letter.dialect is DIA
    assert letter.pointer is None
    assert (letter.id, letter.source_tp, letter.source_offset) == (origin.id, origin.tp, 41)
    assert (letter.error_code, letter.error_message, letter.stage) == (code, "because", "decode")
    assert (letter.agent, letter.group, letter.attempts) == ("a", "g", 2)
    assert (letter.failed_ms, letter.hops) == (99, origin.hops)


@given(key=nullable, value=nullable, found=headers)
def test_any_record_can_be_shown(key, value, found):
    """Any program may write to a DLQ topic: one malformed record must not hide the others."""
    letter = letter_of(OutboundRecord(TopicPartition("x.dlq", 0), key, value, found, 5))
    for field in (name for name in dir(DeadLetterRecord) if not name.startswith("_")):
        getattr(letter, field)
    assert letter.original().value == value
    assert letter.id
    assert isinstance(letter.tenant, str)
    assert letter.error_code
    assert 0 <= letter.hops <= 65_535
