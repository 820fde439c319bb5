"""Arrow answers of ClickHouse keep the meaning of their types, and an answer that broke off is an error."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import pyarrow as pa
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from streams.connect.sinks.arrow_result import (
    AnswerBytes,
    as_meant,
    opened_stream,
    record_batches,
    schema_of,
)
from streams.core.errors import UsageError

SECONDS = pa.uint32()
FAILED = b"__exception__\r\nabcd\r\nCode: 395. DB::Exception: Value passed to throwIf. (X)\n51 abcd\r\n__exception__\r\n"


def test_date_times_become_timestamps_in_the_zone_of_their_column():
    """ClickHouse writes DateTime into Arrow as a number, which no reader takes for a time."""
    given = pa.record_batch(
        {
            "a": pa.array([5], SECONDS),
            "b": pa.array([None], SECONDS),
            "c": pa.array([[1, 2]], pa.list_(SECONDS)),
            "n": pa.array([7], SECONDS),
        }
    )
    types = [
        ("a", "DateTime('Asia/Tokyo')"),
        ("b", "LowCardinality(Nullable(DateTime))"),
        ("c", "Array(DateTime('UTC'))"),
        ("n", "UInt32"),
    ]
    schema = schema_of(given.schema, types)
    assert [str(kind) for kind in schema.types] == [
        "timestamp[s, tz=Asia/Tokyo]",
        "timestamp[s, tz=UTC]",
        "list<item: timestamp[s, tz=UTC]>",
        "uint32",
    ]
    (row,) = as_meant(given, schema).to_pylist()
    assert row["a"] == datetime(1970, 1, 1, 0, 0, 5, tzinfo=UTC)
    assert row["b"] is None
    assert row["c"] == [datetime(1970, 1, 1, 0, 0, s, tzinfo=UTC) for s in (1, 2)]
    assert row["n"] == 7


@pytest.mark.parametrize(
    "kind",
    [
        "Enum8('a' = 1)",
        "Nullable(IPv4)",
        "Array(IPv6)",
        "UInt256",
        "Map(String, DateTime)",
        "Array(Tuple(UInt8, DateTime('UTC')))",
        "AggregateFunction(sum, UInt8)",
        "IntervalDay",
        "Nullable(BFloat16)",
    ],
)
def test_a_type_that_arrow_cannot_hold_is_refused(kind):
    """A number without its meaning in a file is found months later."""
    with pytest.raises(UsageError, match=r"toString\(k\)"):
        schema_of(pa.schema([("k", pa.int8())]), [("k", kind)])


@pytest.mark.parametrize(
    "kind", ["DateTime64(3, 'UTC')", "Map(String, UInt8)", "Decimal(18, 2)", "UInt64", "UUID"]
)
def test_other_types_stay_as_they_are(kind):
    """Arrow has them."""
    schema = pa.schema([("k", pa.uint64())])
    assert schema_of(schema, [("k", kind)]) == schema


def test_without_known_types_the_schema_stays():
    """SHOW has no types to ask for."""
    schema = pa.schema([("k", SECONDS)])
    assert schema_of(schema, []) is schema


def test_an_answer_that_breaks_off_anywhere_raises_the_error_of_the_server():
    """A prefix that is taken for the whole result is a wrong result."""
    sink = io.BytesIO()
    batch = pa.record_batch({"n": pa.array(range(8))})
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
        writer.write_batch(batch)
    whole = sink.getvalue()
    answer = AnswerBytes(io.BytesIO(whole))
    assert sum(b.num_rows for b in record_batches(answer, opened_stream(answer))) == 16
    for cut in range(len(whole) - 8):  # > a complete stream ends with eight bytes
        answer = AnswerBytes(io.BytesIO(whole[:cut] + FAILED))
        with pytest.raises(DatabaseError, match="throwIf") as raised:
            list(record_batches(answer, opened_stream(answer)))
        assert raised.value.code == 395
        assert "__exception__" not in str(raised.value)


def test_an_error_that_fills_the_columns_of_a_batch_is_seen():
    """Its text ends where the batch would, so pyarrow reads numbers and an end."""
    sink = io.BytesIO()
    batch = pa.record_batch({"n": pa.array(range(8))})
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    body = sink.getvalue()[:-8]
    failed = b"Code: 1. DB::Exception: " + b"x" * 40
    answer = AnswerBytes(io.BytesIO(body[: -len(failed)] + failed))
    with pytest.raises(DatabaseError, match="DB::Exception: x"):
        list(record_batches(answer, opened_stream(answer)))
