"""Contents of a dead letter: the whole record, and the reason for its refusal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.process.version import app_version
from streams.core.records import headers
from streams.core.topics.topic import DLQ_MESSAGE_BYTES, MAX_RECORD_BYTES
from streams.core.types import RecordBatch, TopicPartition
from streams.engine.runtime.effects.dead_letters import (
    MESSAGE_MAX_BYTES,
    Failure,
    Origin,
    columns,
    dead_letter,
)

TP = TopicPartition("model.metrics", 2)


def failure(message: str = "$.ts: expected `int`, got `str`") -> Failure:
    return Failure(
        code="wrong_type", message=message, stage="decode", agent="aggregate_metrics",
        group="dia-group", attempts=1, first_failed_ms=1_700_000_000_123,
    )  # fmt: skip


def origin(value=b"{", key=b"t", record_headers=()) -> Origin:
    batch = RecordBatch(
        TP, 40, 42, [40, 41], [7, 8], [b"a", key], [b"b", value], [(), record_headers]
    )
    return Origin.of(batch, 1, 0)


def test_a_dead_letter_is_its_record_with_appended_headers():
    """Replay sends these bytes again, and operators filter by these headers."""
    record = dead_letter(origin(record_headers=(("trace", b"x"),)), failure()).record
    assert record.tp == TopicPartition("model.metrics.dlq", 2)
    assert (record.key, record.value, record.timestamp_ms) == (b"t", b"{", 8)
    assert record.headers[0] == ("trace", b"x")
    assert {name: value.decode() for name, value in record.headers[1:]} == {
        "dia.dlq.id": "model.metrics/2/41",
        "dia.dlq.topic": "model.metrics",
        "dia.dlq.partition": "2",
        "dia.dlq.offset": "41",
        "dia.dlq.timestamp": "8",
        "dia.dlq.key_present": "true",
        "dia.dlq.error_code": "wrong_type",
        "dia.dlq.error_message": "$.ts: expected `int`, got `str`",
        "dia.dlq.stage": "decode",
        "dia.dlq.agent": "aggregate_metrics",
        "dia.dlq.group": "dia-group",
        "dia.dlq.attempts": "1",
        "dia.dlq.first_failed_at": "1700000000123",
        "dia.dlq.app_version": app_version(),
        "dia.dlq.replay_hops": "0",
    }


def test_the_row_has_the_columns_of_the_table():
    """The ClickHouse table dead_letters is filled from this row, in the same transaction."""
    letter = dead_letter(origin(), failure(), tenant="t")
    assert columns([letter.row, letter.row]) == {
        "id": ["model.metrics/2/41"] * 2,
        "topic": ["model.metrics"] * 2,
        "part": [2, 2],
        "off": [41, 41],
        "ts": [8, 8],
        "error_code": ["wrong_type"] * 2,
        "error_message": ["$.ts: expected `int`, got `str`"] * 2,
        "stage": ["decode"] * 2,
        "agent": ["aggregate_metrics"] * 2,
        "tenant": ["t", "t"],
        "hops": [0, 0],
        "disposition": ["", ""],
        "actor": ["", ""],
        "ver": [1, 1],
        "at": [1_700_000_000_123] * 2,
    }


@pytest.mark.parametrize("key", [None, b""])
def test_no_key_and_an_empty_key_stay_apart(key):
    """Some clients read both as empty; a header distinguishes them."""
    record = dead_letter(origin(key=key), failure()).record
    assert record.key == key
    said = headers.last(record.headers, "dia.dlq.key_present")
    assert said == (b"false" if key is None else b"true")


def test_a_replayed_record_counts_its_hops():
    """The limit of replays uses this number."""
    hopped = ((headers.REPLAY_HOPS, b"2"), ("dia.dlq.error_code", b"invalid_json"))
    letter = dead_letter(origin(record_headers=hopped), failure())
    assert letter.row["hops"] == 2
    assert headers.last(letter.record.headers, "dia.dlq.replay_hops") == b"2"
    assert headers.last(letter.record.headers, "dia.dlq.error_code") == b"wrong_type"


@pytest.mark.parametrize("own", [(), (("own", b"1"), ("dia.replay.hops", b"2"))])
def test_a_copy_from_the_dlq_keeps_its_size_and_counts_its_hops(own):
    """Users copy dead letters back with all headers. Without a bound the record would outgrow every
    topic, and without a count the loop would not end.
    """
    first = dead_letter(origin(record_headers=own), failure())
    letter, before = first, first.row["hops"]
    for round_ in range(1, 41):
        letter = dead_letter(origin(record_headers=letter.record.headers), failure())
        said = headers.last(letter.record.headers, "dia.dlq.replay_hops")
        assert (letter.row["hops"], said) == (before + round_, b"%d" % (before + round_))
    assert len(letter.record.headers) == len(first.record.headers)
    assert letter.record.headers[: len(own)] == own


def test_a_copy_from_the_parking_lot_drops_why_it_was_parked():
    """Otherwise each round through the parking-lot topic would add the header again."""
    parked = (("own", b"1"), ("dia.replay.parked_for", b"hop_cap"))
    record = dead_letter(origin(record_headers=parked), failure()).record
    assert headers.last(record.headers, "dia.replay.parked_for") is None
    assert record.headers[0] == ("own", b"1")


@pytest.mark.parametrize("name", ["dia.replay.hops", "dia.dlq.replay_hops"])
def test_the_number_of_hops_is_bounded(name):
    """Producers can write the header; a number beyond ClickHouse's column would end the worker when
    it builds the row.
    """
    letter = dead_letter(origin(record_headers=((name, b"9" * 18),)), failure())
    assert letter.row["hops"] == 65_535


def test_a_record_of_the_largest_size_is_kept_whole():
    """The DLQ topic has headroom for the headers of such a record."""
    largest = b"x" * MAX_RECORD_BYTES
    assert dead_letter(origin(value=largest), failure("m" * 9999)).record.value == largest


@pytest.mark.parametrize("huge", ["value", "key", "headers"])
def test_a_record_too_large_for_the_dlq_becomes_a_pointer(huge):
    """A compressed batch can hold a record larger than the limit of any topic; it must not stop the
    others.
    """
    bulk = b"x" * (2 * MAX_RECORD_BYTES)
    parts = {
        "value": {"value": bulk},
        "key": {"key": bulk},
        "headers": {"record_headers": (("h", bulk),)},
    }
    record = dead_letter(origin(**parts[huge]), failure()).record
    assert record.value is None
    assert record.key == (None if huge == "key" else b"t")
    assert headers.last(record.headers, "dia.dlq.pointer") == b"true"
    assert headers.last(record.headers, "dia.dlq.id") == b"model.metrics/2/41"
    expected = len(bulk) if huge == "value" else 1
    assert headers.last(record.headers, "dia.dlq.value_bytes") == str(expected).encode()
    assert sum(len(name) + len(value) for name, value in record.headers) < DLQ_MESSAGE_BYTES


@given(st.text(max_size=3000))
def test_messages_are_cut_between_characters(message):
    """Half a character would make the header invalid UTF-8."""
    letter = dead_letter(origin(), failure(message))
    kept = headers.last(letter.record.headers, "dia.dlq.error_message")
    assert len(kept) <= MESSAGE_MAX_BYTES
    assert message.startswith(kept.decode())
    assert len(message.encode()) <= MESSAGE_MAX_BYTES or len(kept) > MESSAGE_MAX_BYTES - 4
