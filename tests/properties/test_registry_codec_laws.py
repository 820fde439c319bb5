"""Schema-registry codecs: encoding is lossless, and no bytes end a worker."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams import App, Record
from streams.connect.schema_registry.connecting import connect
from streams.connect.schema_registry.memory import MemoryRegistry
from streams.connect.schema_registry.registry import SchemaRegistry
from streams.core.clock import SystemClock
from streams.core.formats.codec import guarded
from streams.core.formats.proto_messages import messages_of
from streams.core.formats.schema_source import Subject
from streams.core.formats.wire_format import header, read_indexes, schema_id, written_indexes
from streams.core.telemetry.metrics import Metrics
from tests.depth import cases
from tests.proto_types import Order as ProtoOrder

INT64 = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
FLOAT = st.floats(allow_nan=False, allow_infinity=False)


class Inner(Record):
    name: str
    count: int | None = None


class Order(Record):
    account: str
    ts: int
    amount: float = 0.0
    note: str | None = None
    tags: list[str] = []  # noqa: RUF012 - msgspec copies it
    counts: dict[str, int] = {}  # noqa: RUF012 - as above
    inner: Inner | None = None
    ok: bool = False


ORDERS = st.builds(
    Order,
    account=TEXT,
    ts=INT64,
    amount=FLOAT,
    note=st.none() | TEXT,
    tags=st.lists(TEXT, max_size=4),
    counts=st.dictionaries(TEXT, INT64, max_size=4),
    inner=st.none() | st.builds(Inner, name=TEXT, count=st.none() | INT64),
    ok=st.booleans(),
)
PROTO_ORDERS = st.builds(ProtoOrder, account=TEXT, ts=INT64, amount=FLOAT)
EVENTS = {"avro": ORDERS, "json_schema": ORDERS, "protobuf": PROTO_ORDERS}
KINDS = {"avro": "AVRO", "json_schema": "JSON", "protobuf": "PROTOBUF"}


def _codec(name: str, value_type: Any = None) -> Any:
    """The codec of a topic whose schema has the number 1 in the in-memory registry."""
    kind = value_type or (ProtoOrder if name == "protobuf" else Order)
    topic = App("acme").topic("o", value_type=kind, codec=name)
    memory = MemoryRegistry()
    source = SchemaRegistry(memory, SystemClock(), Metrics())
    connect([topic], source)
    codec: Any = topic.codec
    assert memory.put(codec.writer) == 1
    source._ids[codec.writer] = 1
    source._schemas.update(memory._schemas)
    return codec


CODECS = {name: _codec(name) for name in EVENTS}
DECODERS = {name: codec.decoder(codec.value_type) for name, codec in CODECS.items()}


@pytest.mark.parametrize("name", EVENTS)
@given(data=st.data())
def test_an_encoded_value_is_decoded_unchanged(name, data):
    """For any value of the type, in a batch."""
    events = data.draw(st.lists(EVENTS[name], max_size=5))
    values = [CODECS[name].encode(event) for event in events]
    assert DECODERS[name](values) == (events, {})


@pytest.mark.parametrize("name", EVENTS)
@settings(max_examples=cases(300))
@given(data=st.data())
def test_no_body_ends_a_worker(name, data):
    """Each value is an event or a defect with a documented code: no exception reaches `guarded`,
    which would name it `codec_failed`."""
    good = CODECS[name].encode(data.draw(EVENTS[name]))
    spoiled = st.tuples(st.integers(0, len(good)), st.binary(max_size=12)).map(
        lambda cut: good[: cut[0]] + cut[1] + good[cut[0] + len(cut[1]) :]
    )
    values = data.draw(
        st.lists(st.none() | st.binary(max_size=64).map(header(1).__add__) | spoiled, max_size=6)
    )
    named = {schema_id(value) for value in values} - {None, 1}
    CODECS[name].source._unknown.update(dict.fromkeys(named, float("inf")))
    read = guarded(DECODERS[name])([good, *values, good])
    assert len(read.events) + len(read.failed) == len(values) + 2
    assert not read.failed.keys() & {0, len(values) + 1}
    assert {found.code for found in read.failed.values()} <= {
        "body_unfit", "empty_value", "incompatible_schema", "invalid_frame", "invalid_json",
        "invalid_utf8", "missing_field", "non_finite", "out_of_range", "unknown_schema_id",
        "wrong_type",
    }  # fmt: skip


@given(st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=100), st.binary(max_size=8))
def test_message_indexes_are_read_as_written(path, rest):
    """At any position; the body begins behind them."""
    written = written_indexes(path)
    assert read_indexes(b"12345" + written + rest, 5) == (tuple(path), 5 + len(written))


@given(st.binary(max_size=24))
def test_any_bytes_are_message_indexes_or_a_value_error(value):
    """The bytes come from outside."""
    try:
        path, at = read_indexes(value, 0)
    except ValueError:
        return
    assert path
    assert 0 < at <= len(value)


TREES = st.recursive(st.just([]), lambda inner: st.lists(inner, max_size=3), max_leaves=12)


@given(TREES, st.sampled_from(["", "acme", "a.b.c"]))
def test_messages_of_a_file_are_found_by_their_paths(tree, package):
    """Whatever other definitions stand between them."""
    expected: dict[tuple[int, ...], str] = {}

    def block(level, path, prefix):
        text = ""
        for index, inner in enumerate(level):
            name = f"M{index}"
            full = f"{prefix}.{name}" if prefix else name
            expected[*path, index] = full
            text += f"enum E{index} {{ A = 0; }} // message X {{\n"
            text += f"message {name} {{ string message = 1; {block(inner, (*path, index), full)} }}"
        return text

    head = f"package {package};" if package else ""
    text = f'syntax = "proto3"; {head} {block(tree, (), package)} service S {{ }}'
    assert messages_of(text) == expected


@given(st.text(max_size=60))
def test_any_schema_text_gives_messages_or_a_defect(text):
    """The schema comes from the registry, which other teams write."""
    codec = CODECS["protobuf"]
    memory = MemoryRegistry()
    memory.put(Subject("s", "PROTOBUF", text))
    codec.source._schemas[2] = memory._schemas[1]
    read = codec.decoder(ProtoOrder)([header(2) + b"\x00"])
    assert {found.code for found in read.failed.values()} <= {"incompatible_schema"}
