"""Columns of a batch are the same, or refused the same, whether the scanner read them or objects did."""

from __future__ import annotations

import msgspec
import pytest

from streams.core import kernels
from streams.core.records.event_fields import EventFields, ObjectFields
from streams.core.records.framed_batch import framed
from streams.core.types import RecordBatch, TopicPartition
from streams.engine.agents.agent import EventBatch
from streams.engine.app.app import App
from streams.engine.decode.codecs import Limits, decode
from streams.engine.decode.scanning import Scanner
from streams.engine.state.log_time import LogTimes

LIMITS = Limits(300, 604_800)


class Sample(msgspec.Struct):
    device: str
    count: int
    heat: float
    turns: int
    site: str | None = None
    level: int | None = None
    ratio: float | None = None


TOPIC = App("fields").topic(
    "samples", schema="sample", versions={1: Sample}, partitions=1, key_field="device"
)
PLAIN = b'{"device":"a","count":7,"heat":2.5,"turns":9}'
FULL = b'{"device":"a","count":7,"heat":2.5,"turns":9,"site":"x","level":3,"ratio":0.5}'
TWICE = PLAIN.replace(b"{", b'{"count":8,')


def _batch(values: list[bytes]) -> RecordBatch:
    count = len(values)
    return RecordBatch(
        TopicPartition("samples", 0), 0, count, [*range(count)], [1] * count, [b"a"] * count,
        [*values], [()] * count,
    )  # fmt: skip


def _both(values: list[bytes]) -> list[EventFields]:
    """The fields as objects give them and, where kernels are loaded, as the scanner does."""
    batch = _batch(values)
    found: list[EventFields] = [ObjectFields(decode(TOPIC, batch, LIMITS).events)]
    if kernels.active is not None:
        scanner = Scanner.of(TOPIC)
        assert scanner is not None
        fields = scanner.decode(batch, LIMITS).fields
        assert fields is not None
        found.append(fields)
    return found


@pytest.mark.parametrize("rows", [None, [1]])
def test_a_column_of_records_is_a_list_however_they_were_fetched(rows):
    """An agent that joins two columns must not depend on whether kernels are loaded."""
    plain = _batch([PLAIN, FULL])
    decoded = decode(TOPIC, plain, LIMITS)
    times = decoded.event_ms, decoded.append_ms, LogTimes(decoded.append_ms, decoded.append_ms)
    for records in (plain, framed(plain)):
        column = EventBatch(records, decoded.events, rows, *times).column("values")
        assert type(column) is list
        assert column == ([PLAIN, FULL] if rows is None else [FULL])


def test_records_taken_one_at_a_time_are_lists():
    """Each place of a framed batch costs as much as all the rest of an event in an agent's loop."""
    batch = framed(_batch([PLAIN, FULL]))
    batch.to_lists()
    assert (batch.keys, batch.values, batch.offsets) == ([b"a", b"a"], [PLAIN, FULL], [0, 1])
    assert all(type(one) is list for one in (batch.keys, batch.values, batch.headers))


def test_a_whole_number_is_read_as_a_number():
    """Its column is another one than that of a float field."""
    for fields in _both([PLAIN, FULL]):
        assert fields.numbers("count").tolist() == [7.0, 7.0]
        assert fields.numbers("turns").tolist() == [9.0, 9.0]
        assert fields.wholes("turns").tolist() == [9, 9]


@pytest.mark.parametrize(
    ("read", "name"),
    [
        ("wholes", "heat"), ("wholes", "device"), ("numbers", "device"), ("texts", "count"),
        ("wholes", "level"), ("numbers", "level"), ("numbers", "ratio"),
    ],
)  # fmt: skip
def test_a_field_of_another_type_or_with_none_in_it_is_refused(read, name):
    """Another field's values, or what memory held before, would be counted as its own."""
    for fields in _both([PLAIN, FULL]):
        with pytest.raises(TypeError, match=name):
            getattr(fields, read)(name)


def test_a_field_that_may_be_none_is_read_where_it_is_not():
    """What a type allows does not refuse a batch."""
    for fields in _both([FULL, FULL]):
        assert fields.wholes("level").tolist() == [3, 3]
        assert fields.numbers("ratio").tolist() == [0.5, 0.5]


@pytest.mark.skipif(kernels.active is None, reason="nothing is scanned")
def test_a_batch_of_slow_records_is_decoded_without_columns():
    """A producer that writes each field twice must not cost more than it does without kernels."""
    scanner = Scanner.of(TOPIC)
    assert scanner is not None
    assert scanner.decode(_batch([TWICE] * 8), LIMITS).fields is None
    assert scanner.decode(_batch([TWICE] + [PLAIN] * 15), LIMITS).fields is not None
