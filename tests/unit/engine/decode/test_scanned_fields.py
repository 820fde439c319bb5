"""Columns of a batch are equal, and refused equally, by the scanner and by objects."""

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
    """The fields read from objects and, where kernels are loaded, by the scanner."""
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
    """The type of a column does not depend on whether kernels are loaded."""
    plain = _batch([PLAIN, FULL])
    decoded = decode(TOPIC, plain, LIMITS)
    times = decoded.event_ms, decoded.append_ms, LogTimes(decoded.append_ms, decoded.append_ms)
    for records in (plain, framed(plain)):
        column = EventBatch(records, decoded.events, rows, *times).column("values")
        assert type(column) is list
        assert column == ([PLAIN, FULL] if rows is None else [FULL])


def test_records_read_one_at_a_time_are_lists():
    """Access by index to a framed batch costs as much as the rest of an agent's loop for an event."""
    batch = framed(_batch([PLAIN, FULL]))
    batch.to_lists()
    assert (batch.keys, batch.values, batch.offsets) == ([b"a", b"a"], [PLAIN, FULL], [0, 1])
    assert all(type(one) is list for one in (batch.keys, batch.values, batch.headers))


def test_a_whole_number_is_read_as_a_number():
    """Integer and float fields have columns of different types."""
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
    """Otherwise values of another field, or uninitialised memory, would be counted."""
    for fields in _both([PLAIN, FULL]):
        with pytest.raises(TypeError, match=name):
            getattr(fields, read)(name)


def test_an_optional_field_is_read_where_it_has_a_value():
    """A None that the type allows does not refuse the batch."""
    for fields in _both([FULL, FULL]):
        assert fields.wholes("level").tolist() == [3, 3]
        assert fields.numbers("ratio").tolist() == [0.5, 0.5]


@pytest.mark.skipif(kernels.active is None, reason="nothing is scanned")
def test_a_batch_of_slow_records_is_decoded_without_columns():
    """A producer that repeats each field must not make decoding slower than without kernels."""
    scanner = Scanner.of(TOPIC)
    assert scanner is not None
    assert scanner.decode(_batch([TWICE] * 8), LIMITS).fields is None
    assert scanner.decode(_batch([TWICE] + [PLAIN] * 15), LIMITS).fields is not None
