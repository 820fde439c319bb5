"""Laws of the scanner: it says slow, or exactly what `decode` says; compiled or interpreted."""

from __future__ import annotations

import math
import random
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.core import kernels
from streams.core.formats.scalar_fields import scalar_fields
from streams.core.kernels import compiled, decimals, objects, texts
from streams.core.kernels.record_shape import PADDING
from streams.core.records.framed_batch import places_of
from streams.core.types import RecordBatch, TopicPartition
from streams.engine.decode.scanned_events import ScannedFields
from tests.properties import scan_bodies

if kernels.active is None:
    pytest.skip("there are no kernels to hold to these laws", allow_module_level=True)

READERS = (decimals.read_double, compiled.twin(decimals.read_double))


def _padded(text: bytes) -> np.ndarray:
    return np.frombuffer(text + bytes(PADDING), np.uint8)


@pytest.mark.parametrize("topic", scan_bodies.TOPICS, ids=lambda topic: topic.name)
@given(st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_a_scanned_batch_is_the_decoded_one(topic, seed):
    """A second reader of JSON must not be a second opinion."""
    batch = scan_bodies.batch_of(random.Random(seed), topic, 60)
    assert scan_bodies.differences(topic, batch) == []


@pytest.mark.parametrize("topic", scan_bodies.TOPICS, ids=lambda topic: topic.name)
@given(st.lists(st.binary(max_size=60), min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
def test_of_arbitrary_bytes_too(topic, values):
    """The log holds what anyone sent."""
    count = len(values)
    batch = RecordBatch(
        TopicPartition(topic.name, 0), 0, count, [*range(count)], [scan_bodies.T_MS] * count,
        [None] * count, values, [()] * count,
    )  # fmt: skip
    assert scan_bodies.differences(topic, batch) == []


def test_plain_records_are_not_slow():
    """Else the scanner would keep its law by doing nothing."""
    draw, topic = random.Random(5), scan_bodies.TOPICS[0]
    values = [
        b'{"event_id":"%032x","tenant_id":"t","model_id":"m","metric":"x","ts":%d,"value":%s}'
        % (draw.getrandbits(128), scan_bodies.T_MS, repr(draw.lognormvariate(0, 2)).encode())
        for _ in range(1000)
    ]
    batch = RecordBatch(
        TopicPartition(topic.name, 0), 0, 1000, [*range(1000)], [scan_bodies.T_MS] * 1000,
        [b"t"] * 1000, values, [()] * 1000,
    )  # fmt: skip
    assert sum(scan_bodies.scanner_says_slow(topic, batch)) <= 10


doubles = st.integers(0, 2**64 - 1).map(
    lambda bits: struct.unpack("<d", struct.pack("<Q", bits))[0]
)
numbers = st.one_of(
    doubles.filter(math.isfinite).map(repr),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.builds("{}.{}e{}".format, st.integers(), st.integers(0), st.integers(-400, 400)),
    st.builds("{}e{}".format, st.integers(0, 2**64), st.integers(-30, 30)),
    st.sampled_from(["9007199254740993", "9007199254740993e0", "1e23", "8.5e-1", "-1", "0", "0e5"]),
)


@given(numbers)
@settings(max_examples=1500, deadline=None)
def test_a_number_is_not_read_or_is_the_nearest_double(text):
    """Bit for bit what `float` gives, compiled and interpreted, or nothing."""
    raw = text.encode()
    found = {reader(_padded(raw), 0, len(raw)) for reader in READERS}
    assert len(found) == 1
    [(end, value)] = found
    if end == len(raw):
        assert struct.pack("<d", value) == struct.pack("<d", float(text))


@given(st.binary(max_size=40), st.integers(0, 39))
@settings(max_examples=300, deadline=None)
def test_a_string_ends_at_its_quote_or_is_not_read(raw, at):
    """Eight bytes at a time, as one after the other."""
    end = next(
        (i for i in range(at, len(raw)) if raw[i] in b'"\\' or not 0x20 <= raw[i] < 0x80), -1
    )
    expected = end if end >= 0 and raw[end] == ord('"') else -1
    for reader in (texts.string_end, compiled.twin(texts.string_end)):
        assert reader(_padded(raw), at, len(raw)) == expected


@given(st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_the_interpreted_scan_is_the_compiled_one(seed):
    """The twin is what simulations and debuggers can look into."""
    topic = scan_bodies.TOPICS[seed % 2]
    table = scalar_fields(topic.type)
    assert table is not None
    _, values = places_of(scan_bodies.batch_of(random.Random(seed), topic, 8))
    answers = []
    for scan in (objects.scan, compiled.twin(objects.scan)):
        found = ScannedFields.empty(table, values.buffer, len(values))
        for column in (found.text_at, found.text_size, found.whole_values, found.number_values):
            column[:] = 0
        slow = values.size < 0
        scan(
            values.buffer, values.at, values.size, table.names, table.shape, table.bounds,
            found.text_at, found.text_size, found.whole_values, found.number_values,
            found.absent, slow,
        )  # fmt: skip
        outputs = (
            found.text_at, found.text_size, found.whole_values, found.number_values, found.absent,
        )  # fmt: skip
        answers.append([slow.tolist(), *(column[:, ~slow].tolist() for column in outputs)])
    assert answers[0] == answers[1]
