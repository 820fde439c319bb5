"""Dead letters of other tools, with their origin headers."""

from __future__ import annotations

import pytest

from agents.app import app
from streams.core.types import RecordBatch, TopicPartition
from streams.operate.dlq.dead_letter import letters

CONNECT = {
    "topic": b"orders",
    "partition": b"3",
    "offset": b"17",
    "connector.name": b"sink-a",
    "task.id": b"0",
    "stage": b"VALUE_CONVERTER",
    "class.name": b"org.apache.kafka.connect.json.JsonConverter",
    "exception.class.name": b"org.apache.kafka.connect.errors.DataException",
    "exception.message": b"no schema",
    "exception.stacktrace": b"at ...",
}
STREAMS = {
    "exception": b"java.lang.RuntimeException",
    "stacktrace": b"at ...",
    "message": b"no schema",
    "topic": b"orders",
    "partition": b"3",
    "offset": b"17",
}
SPRING = {
    "original-topic": b"orders",
    "original-partition": (3).to_bytes(4, "big"),
    "original-offset": (17).to_bytes(8, "big"),
    "original-timestamp": (1_700_000_000_000).to_bytes(8, "big"),
    "original-timestamp-type": b"CreateTime",
    "original-consumer-group": b"billing",
    "exception-fqcn": b"org.springframework.kafka.listener.ListenerExecutionFailedException",
    "exception-cause-fqcn": b"java.lang.IllegalStateException",
    "exception-message": b"no schema",
}


def letter(found: dict[str, bytes], prefix: str = ""):
    pairs = (("trace", b"x"), *((prefix + name, value) for name, value in found.items()))
    batch = RecordBatch(TopicPartition("orders.dlq", 1), 9, 10, [9], [5], [b"k"], [b"v"], [pairs])
    return letters(batch, app.topology)[0]


@pytest.mark.parametrize(
    ("found", "prefix", "dialect", "code"),
    [
        (CONNECT, "__connect.errors.", "connect", "org.apache.kafka.connect.errors.DataException"),
        (STREAMS, "__streams.errors.", "streams", "java.lang.RuntimeException"),
        (SPRING, "kafka_dlt-", "spring", "java.lang.IllegalStateException"),
    ],
)
def test_the_origin_and_the_cause_are_understood(found, prefix, dialect, code):
    """One command reads every DLQ of a cluster, without a conversion of its topics."""
    read = letter(found, prefix)
    assert read.dialect.name == dialect
    assert (read.source_tp, read.source_offset) == (("orders", 3), 17)
    assert read.id == "orders/3/17"
    assert (read.error_code, read.error_message) == (code, "no schema")
    assert read.original_headers == (("trace", b"x"),)


def test_headers_of_a_single_tool_are_read_too():
    """Operators filter by stage, agent, group and time."""
    assert letter(CONNECT, "__connect.errors.").stage == "VALUE_CONVERTER"
    assert letter(CONNECT, "__connect.errors.").agent == "sink-a"
    spring = letter(SPRING, "kafka_dlt-")
    assert (spring.group, spring.source_timestamp_ms) == ("billing", 1_700_000_000_000)


@pytest.mark.parametrize(
    ("found", "prefix"),
    [
        ({"topic": b"orders", "partition": b"-1", "offset": b"x"}, "__connect.errors."),
        ({"original-topic": b"orders", "original-offset": b"123456789"}, "kafka_dlt-"),
        ({"topic": b"orders"}, "dia.dlq."),
        ({}, ""),
    ],
)
def test_missing_or_invalid_headers_are_unknown_and_no_error(found, prefix):
    """Connect writes offset -1 without a record; other tools omit unknown fields."""
    read = letter(found, prefix)
    assert read.source_offset is None
    assert read.id == "orders.dlq/1/9"
    assert read.error_code == "unknown"
    assert read.original_headers == (("trace", b"x"),)


def test_headers_of_dia_take_precedence_over_those_of_an_earlier_queue():
    """The record may have passed through Spring's DLQ before: the last refusal counts."""
    both = {f"kafka_dlt-{name}": value for name, value in SPRING.items()}
    both |= {"dia.dlq.id": b"model.metrics/0/4", "dia.dlq.error_code": b"invalid_json"}
    read = letter(both)
    assert (read.dialect.name, read.error_code) == ("dia", "invalid_json")
    assert ("kafka_dlt-exception-message", b"no schema") in read.original_headers
