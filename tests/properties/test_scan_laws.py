"""The scanner leaves a record to `decode` or reads exactly what `decode` reads, compiled and
interpreted."""

from __future__ import annotations

import json
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
from tests.depth import cases
from tests.properties import scan_bodies

if kernels.active is None:
    pytest.skip("the compiled kernels are not available", allow_module_level=True)

READERS = (decimals.read_double, compiled.twin(decimals.read_double))


def _padded(text: bytes) -> np.ndarray:
    return np.frombuffer(text + bytes(PADDING), np.uint8)


@pytest.mark.parametrize("topic", scan_bodies.TOPICS, ids=lambda topic: topic.name)
@given(st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_a_scanned_batch_equals_the_decoded_one(topic, seed):
    """Both readers of JSON must agree."""
    batch = scan_bodies.batch_of(random.Random(seed), topic, 60)
    assert scan_bodies.differences(topic, batch) == []


@pytest.mark.parametrize("topic", scan_bodies.TOPICS, ids=lambda topic: topic.name)
@given(st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_nearly_valid_json_is_not_misread(topic, seed):
    """Bodies truncated, changed or overwritten at any byte."""
    assert scan_bodies.misread(topic, *scan_bodies.mutants(random.Random(seed), topic, 20)) == []


@pytest.mark.parametrize("topic", scan_bodies.TOPICS, ids=lambda topic: topic.name)
@given(st.lists(st.binary(max_size=60), min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
def test_arbitrary_bytes_are_not_misread(topic, values):
    """Any client may have written to the log."""
    count = len(values)
    batch = RecordBatch(
        TopicPartition(topic.name, 0), 0, count, [*range(count)], [scan_bodies.T_MS] * count,
        [None] * count, values, [()] * count,
    )  # fmt: skip
    assert scan_bodies.differences(topic, batch) == []


def _with_labels(event):
    return {"labels": {"zones": ["a", None, {"b": -1.5e3}], "é": "\n😀"}, **event}


@pytest.mark.parametrize(
    ("tenant", "written"),
    [
        ("t", lambda event: json.dumps(event, separators=(",", ":"))),
        ("t", json.dumps),
        ("t", lambda event: json.dumps(event, indent=2) + "\r\n"),
        ("Łódź-日本-😀", json.dumps),
        ("Łódź-日本-😀", lambda event: json.dumps(event, ensure_ascii=False)),
        ('a"b\\c/\n\0', json.dumps),
        ("é" * 128, lambda event: json.dumps(event, ensure_ascii=False)),
        ("😀" * 128, json.dumps),
        ("t", lambda event: json.dumps(_with_labels(event))),
        ("t", lambda event: json.dumps(event).replace("metric", "m\\u0065tric")),
    ],
    ids=[
        "compact", "spaced", "indented", "escaped", "utf8", "short escapes", "long", "long pairs",
        "unknown fields", "escaped name",
    ],
)  # fmt: skip
def test_json_of_common_programs_is_scanned(tenant, written):
    """Otherwise the scanner would satisfy its law by scanning nothing."""
    draw, topic = random.Random(5), scan_bodies.TOPICS[0]
    events = [
        {
            "event_id": f"{draw.getrandbits(128):032x}", "tenant_id": tenant, "model_id": "m",
            "metric": "x", "ts": scan_bodies.T_MS, "value": draw.lognormvariate(0, 2),
        }
        for _ in range(200)
    ]  # fmt: skip
    values = [written(event).encode() for event in events]
    batch = RecordBatch(
        TopicPartition(topic.name, 0), 0, 200, [*range(200)], [scan_bodies.T_MS] * 200,
        [tenant.encode()] * 200, values, [()] * 200,
    )  # fmt: skip
    assert sum(scan_bodies.left_to_decode(topic, batch)) <= 2
    assert scan_bodies.differences(topic, batch) == []


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


@pytest.mark.parametrize("zeros", [0, 1, 30])
@pytest.mark.parametrize("before", range(1, 20))
def test_digits_that_overflow_to_zero_are_not_read_as_zero(before, zeros):
    """2**64 has 20 digits, one more than the scanner reads: a decimal point before the last digit
    must not hide that."""
    digits = str(2**64)
    for text in (f"{digits[:before]}.{digits[before:]}", f"0.{'0' * zeros}{digits}"):
        raw = text.encode()
        assert {reader(_padded(raw), 0, len(raw)) for reader in READERS} == {(-1, 0.0)}


@given(numbers)
@settings(max_examples=cases(1500), deadline=None)
def test_a_number_is_the_nearest_double_or_left_to_decode(text):
    """Bit for bit what `float` returns, compiled and interpreted."""
    raw = text.encode()
    found = {reader(_padded(raw), 0, len(raw)) for reader in READERS}
    assert len(found) == 1
    [(end, value)] = found
    if end == len(raw):
        assert struct.pack("<d", value) == struct.pack("<d", float(text))


@given(st.binary(max_size=40), st.integers(0, 39))
@settings(max_examples=cases(300), deadline=None)
def test_plain_text_ends_at_its_first_unusual_byte(raw, at):
    """Eight bytes at a time give the same result as one by one."""
    unusual = (i for i in range(at, len(raw)) if raw[i] in b'"\\' or not 0x20 <= raw[i] < 0x80)
    expected = next(unusual, len(raw))
    for reader in (texts.plain_end, compiled.twin(texts.plain_end)):
        assert reader(_padded(raw), min(at, len(raw)), len(raw)) == expected


@given(st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_the_interpreted_scan_equals_the_compiled_one(seed):
    """Simulations and debuggers run the interpreted form."""
    topic = scan_bodies.TOPICS[seed % len(scan_bodies.TOPICS)]
    table = scalar_fields(topic.type)
    assert table is not None
    _, values = places_of(scan_bodies.batch_of(random.Random(seed), topic, 8))
    answers = []
    for scan in (objects.scan, compiled.twin(objects.scan)):
        found = ScannedFields.empty(table, values.buffer, len(values))
        for column in (found.text_at, found.text_size, found.whole_values, found.number_values):
            column[:] = 0
        slow, arena = values.size < 0, np.zeros(len(values.buffer), np.uint8)
        used = scan(
            values.buffer, values.at, values.size, table.names, table.shape, table.bounds,
            table.passes, arena, found.text_at, found.text_size, found.whole_values,
            found.number_values, found.absent, slow,
        )  # fmt: skip
        outputs = (
            found.text_at, found.text_size, found.whole_values, found.number_values, found.absent,
        )  # fmt: skip
        columns = [column[:, ~slow].tolist() for column in outputs]
        answers.append([slow.tolist(), arena[:used].tolist(), *columns])
    assert answers[0] == answers[1]
