"""Avro, Protobuf and JSON Schema: which values each reads under which schema, and what it refuses."""

from __future__ import annotations

import io
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import fastavro
import msgspec
import pytest

from streams import App, Avro, JsonSchema, Protobuf, Record
from streams.connect.schema_registry.connecting import connect
from streams.connect.schema_registry.memory import MemoryRegistry
from streams.connect.schema_registry.registry import SchemaRegistry
from streams.core.clock import SystemClock
from streams.core.errors import SchemaRefused, UsageError
from streams.core.formats import named as named_module
from streams.core.formats.schema_source import SchemaReference, Subject
from streams.core.formats.wire_format import header
from streams.core.records.bad_records import ValueRefused
from streams.core.telemetry.metrics import Metrics
from streams.core.types import RecordBatch, TopicPartition
from streams.engine.decode import codecs
from streams.engine.decode.codecs import Limits, decode, outgoing, settled
from tests.proto_types import NewerOrder, Refund
from tests.proto_types import Order as ProtoOrder

LIMITS = Limits(300, 604_800)
T = 1_700_000_000_000


class Order(Record):
    account: str
    amount: float = 0.0
    note: str | None = None


class Place:
    """Topics of one app and one in-memory registry."""

    def __init__(self):
        self.app = App("acme")
        self.memory = MemoryRegistry()

    def topic(self, name="orders", value_type=Order, codec="avro", **more):
        declared = self.app.topic(name, value_type=value_type, codec=codec, **more)
        connect([declared], SchemaRegistry(self.memory, SystemClock(), Metrics()))
        return declared

    def put(self, schema, kind="AVRO", **more):
        text = schema if isinstance(schema, str) else json.dumps(schema)
        return self.memory.put(Subject("other", kind, text, **more))

    async def read(self, topic, *values):
        n = len(values)
        batch = RecordBatch(
            TopicPartition(topic.name, 0), 0, n, [*range(n)], [T] * n, [None] * n, [*values],
            [()] * n,
        )  # fmt: skip
        return await settled(lambda: decode(topic, batch, LIMITS))

    async def write(self, topic, event):
        return await settled(lambda: topic.codec.encode(event))


@pytest.fixture
def place():
    return Place()


def _avro(number, schema, value):
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), value)
    return header(number) + out.getvalue()


def _codes(decoded):
    return [(bad.position, bad.code) for bad in decoded.bad]


def _record(*fields, name="Order"):
    return {
        "type": "record",
        "name": name,
        "fields": [{"name": name, "type": kind} for name, kind in fields],
    }


# --- all of them ---------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", ["avro", "json_schema", "protobuf"])
async def test_each_bad_value_has_its_own_reason(place, codec):
    """An invalid value does not affect the valid ones."""
    kind = ProtoOrder if codec == "protobuf" else Order
    topic = place.topic(value_type=kind, codec=codec)
    good = await place.write(topic, kind(account="a", amount=2.0))
    other = place.put('{"type":"object"}', "JSON") if codec != "json_schema" else place.put('"int"')
    values = [good, None, b"", b"{}", b"\1" + good[1:], b"\0\0\0\0\x63x", header(other) + b"{}"]
    decoded = await place.read(topic, *values, good[:-1], good)
    assert [event.account for event in decoded.events] == ["a", "a"]
    assert _codes(decoded)[:6] == [
        (1, "empty_value"),
        (2, "empty_value"),
        (3, "invalid_frame"),
        (4, "invalid_frame"),
        (5, "unknown_schema_id"),
        (6, "incompatible_schema"),
    ]
    assert _codes(decoded)[6] in [(7, "body_unfit"), (7, "invalid_json")]


@pytest.mark.parametrize("codec", ["avro", "json_schema", "protobuf"])
async def test_events_arrive_as_json_in_every_codec(place, codec):
    """The edge and `dia produce` accept documents; only an event that cannot be encoded is refused."""
    topic = place.topic(value_type=ProtoOrder if codec == "protobuf" else Order, codec=codec)
    documents = [b'{"account":"a","amount":2}', b"{", b'{"account":"b"}']
    decoded, keys, values = await settled(lambda: outgoing(topic, documents, T, LIMITS))
    assert _codes(decoded) == [(1, "invalid_json")]
    assert len(keys) == len(values) == 2
    assert [event.account for event in (await place.read(topic, *values)).events] == ["a", "b"]


@pytest.mark.parametrize("codec", ["avro", "json_schema", "protobuf"])
async def test_a_reader_of_documents_is_made_once(place, codec):
    """The edge uses the reader for each request."""
    topic = place.topic(value_type=ProtoOrder if codec == "protobuf" else Order, codec=codec)
    await settled(lambda: outgoing(topic, [b"{}"], T, LIMITS))
    made = codecs._reader.cache_info().misses
    await settled(lambda: outgoing(topic, [b"{}"], T, LIMITS))
    assert codecs._reader.cache_info().misses == made


@pytest.mark.parametrize("codec", ["avro", "json_schema", "protobuf"])
async def test_a_schema_is_registered_by_the_first_write_only(place, codec):
    """A topic that is only read must not get a version from its reader."""
    topic = place.topic(value_type=ProtoOrder if codec == "protobuf" else Order, codec=codec)
    await place.read(topic, b"\0\0\0\0\x07x")
    assert not place.memory._subjects
    await place.write(topic, topic.type(account="a"))
    assert [*place.memory._subjects] == ["orders-value"]


@pytest.mark.parametrize("codec", [Avro, JsonSchema, Protobuf])
async def test_a_registry_with_register_false_is_not_written(place, codec):
    """With `register=False` a missing schema is an error, and the partition stops."""
    kind = ProtoOrder if codec is Protobuf else Order
    topic = place.topic(value_type=kind, codec=codec(register=False, subject="by.hand"))
    with pytest.raises(SchemaRefused):
        await place.write(topic, kind(account="a"))
    place.memory.put(topic.codec.writer._replace(register=True))
    assert (await place.write(topic, kind(account="a")))[:5] == header(1)


@pytest.mark.parametrize("name", ["avro", "json_schema", "protobuf"])
def test_a_codec_without_its_package_says_what_to_install(name, monkeypatch):
    """The declaration raises, in one sentence."""

    def missing(module):
        raise ModuleNotFoundError("No module named 'x'", name="x")

    monkeypatch.setattr(named_module, "import_module", missing)
    extra = name.replace("_", "-")
    with pytest.raises(UsageError, match=rf"pip install 'dia-streams\[{extra}\]'"):
        App("acme").topic("o", value_type=Order, codec=name)


# --- Avro ----------------------------------------------------------------------------------------


async def test_avro_reads_every_version_as_the_declared_type(place):
    """A missing field gets its default, and an unknown field is ignored."""
    topic = place.topic(key_field="account")
    older = _record(("account", "string"), ("region", "string"), ("amount", "int"))
    newest = _record(("note", ["null", "string"]), ("account", "string"), ("x", "bytes"))
    values = [
        _avro(place.put(older), older, {"account": "a", "region": "NO", "amount": 3}),
        _avro(place.put(newest), newest, {"note": "n", "account": "b", "x": b"\xff"}),
    ]
    decoded = await settled(lambda: decode(topic, _keyed(topic, values, [b"a", b"b"]), LIMITS))
    assert decoded.events == [Order(account="a", amount=3.0), Order(account="b", note="n")]


def _keyed(topic, values, keys):
    n = len(values)
    return RecordBatch(
        TopicPartition(topic.name, 0), 0, n, [*range(n)], [T] * n, keys, values, [()] * n
    )


async def test_avro_that_lacks_a_field_or_has_another_type_is_refused(place):
    """With the same code as in JSON, and the path."""
    topic = place.topic()
    without, text = _record(("amount", "double")), _record(("account", "long"))
    values = [
        _avro(place.put(without), without, {"amount": 1.0}),
        _avro(place.put(text), text, {"account": 7}),
    ]
    decoded = await place.read(topic, *values)
    assert [(bad.code, bad.path) for bad in decoded.bad] == [
        ("missing_field", "$.account"),
        ("wrong_type", "$.account"),
    ]


async def test_avro_with_a_reader_schema_follows_avros_own_rules(place):
    """Aliases and the reader's defaults apply; a writer schema that cannot be resolved is refused."""
    reader = {
        "type": "record",
        "name": "Order",
        "fields": [
            {"name": "account", "aliases": ["konto"], "type": "string"},
            {"name": "amount", "type": "double", "default": 9.0},
        ],
    }
    topic = place.topic(codec=Avro(schema=reader))
    writer, hopeless = _record(("konto", "string")), _record(("account", "bytes"), name="Order")
    hopeless["fields"][0]["type"] = {"type": "array", "items": "int"}
    decoded = await place.read(
        topic,
        _avro(place.put(writer), writer, {"konto": "k"}),
        _avro(place.put(hopeless), hopeless, {"account": [1]}),
    )
    assert decoded.events == [Order(account="k", amount=9.0)]
    assert _codes(decoded) == [(1, "incompatible_schema")]


class Moment(Record):
    ts: int
    at: datetime
    day: date
    id: UUID
    text: str
    price: Decimal
    raw: bytes = b""


async def test_avro_reads_a_logical_type_as_the_type_declares_it(place):
    """A time field is in milliseconds, also if another system wrote a timestamp."""
    topic = place.topic(
        value_type=Moment, time_field="ts", codec=Avro(register=False, schema=_moment())
    )
    at = datetime(2023, 11, 14, tzinfo=UTC)
    one = UUID(int=7)
    value = _avro(
        place.put(_moment()),
        _moment(),
        {
            "ts": datetime.fromtimestamp(T / 1000, UTC),
            "at": at,
            "day": at.date(),
            "id": one,
            "text": one,
            "price": Decimal("1.50"),
        },
    )
    decoded = await place.read(topic, value)
    assert decoded.events == [
        Moment(ts=T, at=at, day=at.date(), id=one, text=str(one), price=Decimal("1.50"))
    ]
    assert decoded.event_ms.tolist() == [T]


def _moment():
    kinds = {
        "ts": {"type": "long", "logicalType": "timestamp-millis"},
        "at": {"type": "long", "logicalType": "timestamp-micros"},
        "day": {"type": "int", "logicalType": "date"},
        "id": {"type": "string", "logicalType": "uuid"},
        "text": {"type": "string", "logicalType": "uuid"},
        "price": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2},
    }
    return _record(*kinds.items(), name="Moment")


class Node(Record):
    next: Node | None = None


async def test_a_deeply_nested_value_does_not_end_the_process(place):
    """fastavro's compiled reader has no recursion limit: 100,000 levels would crash the process."""
    topic = place.topic(value_type=Node)
    good = await place.write(topic, Node(next=Node()))
    decoded = await place.read(topic, good, good[:5] + b"\x02" * 900_000 + b"\x00")
    assert decoded.events == [Node(next=Node())]
    assert _codes(decoded) == [(1, "body_unfit")]


async def test_a_decimal_without_a_bound_does_not_stop_the_worker(place):
    """fastavro takes minutes for a decimal of 1 MB: the process would lose its partitions, and the
    next owner would meet the same record.
    """
    topic = place.topic(value_type=Any)
    schema = _record(("d", {"type": "bytes", "logicalType": "decimal", "precision": 9}))
    number = place.put(schema)
    good = _avro(number, schema, {"d": Decimal(7)})
    bad = header(number) + b"\x80\x80\x78" + b"\x7f" * 983_040
    decoded = await place.read(topic, good, bad)
    assert decoded.events == [{"d": Decimal(7)}]
    assert _codes(decoded) == [(1, "body_unfit")]


async def test_a_decimal_of_fixed_size_has_the_same_bound(place):
    """Its size is given by the registered schema, which a producer may have chosen."""
    topic = place.topic(value_type=Any)
    fixed = {"type": "fixed", "name": "F", "logicalType": "decimal", "precision": 9}
    small, large = (place.put(_record(("d", {**fixed, "size": size}))) for size in (8, 2048))
    decoded = await place.read(
        topic, header(small) + b"\0" * 7 + b"\x07", header(large) + b"\0" * 2047 + b"\x07"
    )
    assert decoded.events == [{"d": Decimal(7)}]
    assert _codes(decoded) == [(1, "body_unfit")]


async def test_records_of_a_schema_that_its_library_refuses_are_invalid(place):
    """The registry accepted the schema, but the client library does not."""
    twice = _record(("a", _record(name="Twice")), ("b", _record(name="Twice")))
    decoded = await place.read(place.topic(), header(place.put(twice)) + b"x")
    assert _codes(decoded) == [(0, "incompatible_schema")]


@pytest.mark.parametrize(
    "items", ["null", {"type": "fixed", "size": 0, "name": "F"}, _record(name="Empty")]
)
async def test_an_array_of_zero_byte_items_is_refused(place, items):
    """Nine bytes would make 2^60 items and fill the memory."""
    topic = place.topic(value_type=Any)
    number = place.put(_record(("items", {"type": "array", "items": items})))
    decoded = await place.read(topic, header(number) + b"\xfe" * 8 + b"\x0f")
    assert _codes(decoded) == [(0, "incompatible_schema")]


async def test_avro_names_of_references_are_known(place):
    """A schema may use one that another team registered."""
    place.memory.put(Subject("money", "AVRO", '{"type":"fixed","name":"acme.Money","size":2}'))
    schema = _record(("account", "string"), ("m", "acme.Money"))
    number = place.put(schema, references=(SchemaReference("acme.Money", "money", 1),))
    decoded = await place.read(place.topic(), header(number) + b"\x02aXY")
    assert decoded.events == [Order(account="a")]


class Shapes(Record):
    names: list[str] = msgspec.field(default_factory=list)
    counts: dict[str, int] = msgspec.field(default_factory=dict)
    of: Order | None = None
    at: datetime = datetime(2020, 1, 1, tzinfo=UTC)
    ok: bool = True
    raw: bytes = b"x"


async def test_avro_derives_a_schema_for_every_field_type(place):
    """The schema is derived once, and reads what it wrote."""
    topic = place.topic(value_type=Shapes)
    event = Shapes(names=["a", "ü"], counts={"k": -1}, of=Order(account="b"), raw=b"\xff")
    decoded = await place.read(topic, await place.write(topic, event))
    assert decoded.events == [event]


@pytest.mark.parametrize("kind", [set[complex], dict[int, str], tuple[int, str]])
def test_a_type_without_a_schema_is_refused_at_the_declaration(kind):
    """The message says what to give instead."""
    shape = msgspec.defstruct("Odd", [("field", kind)])
    with pytest.raises(UsageError, match=r"Avro\(schema=...\)|cannot read"):
        App("acme").topic("o", value_type=shape, codec="avro")


async def test_a_value_that_avro_cannot_hold_is_refused_by_name(place):
    """The event becomes a dead letter with a code of its own."""
    with pytest.raises(ValueRefused, match="topic orders: this value cannot be written as AVRO"):
        await place.write(place.topic(), {"account": 7})
    untyped = place.topic("free", Any)
    with pytest.raises(ValueRefused, match="has no schema"):
        await place.write(untyped, {"account": "a"})


# --- Protobuf ------------------------------------------------------------------------------------


async def test_protobuf_reads_older_and_newer_messages(place):
    """By field numbers; the message type must be the declared one, at any position in its file."""
    topic = place.topic(value_type=ProtoOrder, codec="protobuf", key_field="account")
    newer = place.topic("newer", NewerOrder, "protobuf")
    value = await place.write(newer, NewerOrder(account="a", note="n", ts=T))
    refund = await place.write(place.topic("r", Refund, "protobuf"), Refund(account="a"))
    assert value[5:8] == b"\x02\x02\x0a", "one message index with value 1"
    decoded = await settled(
        lambda: decode(topic, _keyed(topic, [value, refund], [b"a", b"a"]), LIMITS)
    )
    assert [(event.account, event.ts) for event in decoded.events] == [("a", T)]
    assert _codes(decoded) == [(1, "incompatible_schema")]


async def test_protobuf_reads_the_text_that_other_clients_registered(place):
    """Java clients register the .proto file as text; comments and options are not messages."""
    text = """
        syntax = "proto3"; // message A {
        package acme;
        import "google/protobuf/timestamp.proto";
        option java_package = "message B {";
        /* message C { } */
        enum Kind { NONE = 0; }
        message Empty { message Inner { oneof x { string message = 1; } } enum E { A = 0; } }
        message Order { string account = 1; map<string, int64> counts = 9; }
    """
    number = place.put(text, "PROTOBUF")
    topic = place.topic(value_type=ProtoOrder, codec="protobuf")
    body = ProtoOrder(account="a").SerializeToString()
    values = [header(number) + path + body for path in (b"\x02\x02", b"\x00", b"\x02\x08", b"\x04")]
    decoded = await place.read(topic, *values)
    assert [event.account for event in decoded.events] == ["a"]
    assert [bad.code for bad in decoded.bad] == ["incompatible_schema"] * 2 + ["body_unfit"]
    assert "acme.Empty" in decoded.bad[0].message


def test_protobuf_needs_a_message():
    """A Record has no field numbers."""
    with pytest.raises(UsageError, match="a class that protoc generated"):
        App("acme").topic("o", value_type=Order, codec="protobuf")
    with pytest.raises(UsageError, match=r"no message acme\.Order; it has Other"):
        App("acme").topic("o", value_type=ProtoOrder, codec=Protobuf(schema="message Other {}"))


# --- JSON Schema ---------------------------------------------------------------------------------


async def test_a_value_is_validated_by_the_schema_it_names(place):
    """First by the writer's schema, then by the topic's type."""
    topic = place.topic(codec="json_schema")
    strict = place.put({"type": "object", "properties": {"amount": {"maximum": 5}}}, "JSON")
    bodies = [
        b'{"account":"a","amount":6}',
        b'{"account":"a","amount":5}',
        b'{"amount":1}',
        b"\xff",
    ]
    decoded = await place.read(topic, *(header(strict) + body for body in bodies))
    assert decoded.events == [Order(account="a", amount=5.0)]
    assert [(bad.code, bad.path) for bad in decoded.bad] == [
        ("body_unfit", "$.amount"),
        ("missing_field", "$.account"),
        ("invalid_utf8", "$"),
    ]


async def test_a_value_is_validated_before_it_is_sent(place):
    """Readers would refuse it."""
    schema = {"type": "object", "properties": {"amount": {"minimum": 0}}}
    topic = place.topic(codec=JsonSchema(schema=schema))
    with pytest.raises(ValueRefused, match="less than the minimum"):
        await place.write(topic, Order(account="a", amount=-1.0))
    documents = [b'{"account":"a","amount":-1}', b'{"account":"a"}']
    decoded, keys, values = await settled(lambda: outgoing(topic, documents, T, LIMITS))
    assert (_codes(decoded), len(keys), len(values)) == ([(0, "value_refused")], 1, 1)
    assert decoded.positions == [1]


async def test_a_ref_is_never_fetched_from_its_address(place):
    """A schema in the registry must not make the worker send requests to a server of its choice."""
    with pytest.raises(UsageError, match="not one of its registered references"):
        place.topic(codec=JsonSchema(schema={"$ref": "http://127.0.0.1:1/secret"}))
    place.memory.put(Subject("money", "JSON", '{"type":"integer"}'))
    schema = {"properties": {"amount": {"$ref": "money.json"}}}
    known = place.put(schema, "JSON", references=(SchemaReference("money.json", "money", 1),))
    unknown = place.put(schema, "JSON")
    bodies = [header(number) + b'{"account":"a","amount":1.5}' for number in (known, unknown)]
    decoded = await place.read(place.topic("r", codec="json_schema"), *bodies)
    assert _codes(decoded) == [(0, "body_unfit"), (1, "incompatible_schema")]
