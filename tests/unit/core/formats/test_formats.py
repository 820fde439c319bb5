"""Codecs of topics: what each refuses and why; no user codec ends a worker."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streams import App, Record
from streams.core.errors import BrokerUnavailable
from streams.core.formats.codec import Codec, Read
from streams.core.records.defects import Defect
from streams.core.types import RecordBatch, TopicPartition
from streams.engine.decode.codecs import Limits, check, decode, outgoing

LIMITS = Limits(future_max_s=300, late_max_s=604_800)
T = 1_700_000_000_000


class Order(Record, frozen=True):
    account: str
    number: int = 0
    ts: int = T


class OlderOrder(Record, frozen=True):
    account: str
    ts: int = T


def _topic(codec="json", value_type=Order, key_field="account", **more):
    return App("acme").topic("o", value_type=value_type, key_field=key_field, codec=codec, **more)


def _batch(values, keys=None, headers=None):
    n = len(values)
    return RecordBatch(
        TopicPartition("o", 0), 0, n, [*range(n)], [T + i for i in range(n)],
        keys or [b"a"] * n, [*values], headers or [()] * n,
    )  # fmt: skip


def _bad(decoded):
    return [(bad.position, bad.code) for bad in decoded.bad]


def test_message_pack_has_the_codes_of_json():
    """The code of a dead letter must not depend on the codec of the topic."""
    topic = _topic("msgpack")
    good = topic.codec.encode(Order(account="a", number=3))
    values = [good, b"\xc1", None, msgspec.msgpack.encode({"account": 1}), b"", good[:-1]]
    values.append(msgspec.msgpack.encode({"number": 1}))
    decoded = decode(topic, _batch(values), LIMITS)
    assert decoded.events == [Order(account="a", number=3)]
    assert _bad(decoded) == [
        (1, "invalid_msgpack"),
        (2, "empty_value"),
        (3, "wrong_type"),
        (4, "empty_value"),
        (5, "invalid_msgpack"),
        (6, "missing_field"),
    ]


def test_raw_values_are_events_as_they_are():
    """They may be binary; only a record without a value is invalid."""
    topic = _topic("raw", bytes, key_field="")
    decoded = decode(topic, _batch([b"\xff\x00", None, b""], keys=[None, b"x", b"y"]), LIMITS)
    assert decoded.events == [b"\xff\x00", b""]
    assert _bad(decoded) == [(1, "empty_value")]


def test_without_a_time_field_the_append_time_is_the_time():
    """Such a record is never too old, whatever its own timestamp."""
    decoded = decode(_topic(), _batch([b'{"account":"a","ts":0}'] * 2), LIMITS)
    assert decoded.event_ms.tolist() == [T, T + 1]
    assert _bad(decode(_topic(time_field="ts"), _batch([b'{"account":"a","ts":0}']), LIMITS)) == [
        (0, "timestamp_too_old")
    ]


def test_without_a_key_field_any_key_is_right():
    """A foreign producer chooses its own keys."""
    topic = _topic(key_field="")
    assert _bad(decode(topic, _batch([b'{"account":"a"}'] * 2, keys=[None, b"?"]), LIMITS)) == []
    one, other = check(topic, [b'{"account":"a"}', b'{"account":"b"}'], T, LIMITS)[1]
    assert one != other, "records without a key are spread over partitions"


class Numbered(Record, frozen=True):
    number: int | None = None


def test_a_key_field_may_be_a_number_and_is_never_null():
    """The key is its decimal digits; a null would go to any partition."""
    topic = _topic(value_type=Numbered, key_field="number")
    decoded, keys = check(topic, [b'{"number":7}', b"{}", b'{"number":-1}'], T, LIMITS)
    assert (keys, _bad(decoded)) == ([b"7", b"-1"], [(1, "missing_field")])
    behind = decode(topic, _batch([b'{"number":7}', b"{}"], keys=[b"7", b"8"]), LIMITS)
    assert _bad(behind) == [(1, "key_mismatch")]


@given(number=st.integers(-(1 << 70), 1 << 70))
@example(number=1 << 64)
def test_an_integer_beyond_messagepack_refuses_its_event(number):
    """Other events of the same edge request or `dia produce` are sent."""
    documents = [msgspec.json.encode({"account": "a", "number": one}) for one in (1, number, 2)]
    decoded, keys, values = outgoing(_topic("msgpack"), documents, T, LIMITS)
    held = -(1 << 63) <= number < 1 << 64
    numbers = [msgspec.msgpack.decode(value)["number"] for value in values]
    assert numbers == ([1, number, 2] if held else [1, 2])
    assert [bad.code for bad in decoded.bad] == ([] if held else ["value_refused"])
    assert keys == [b"a"] * len(values)


@pytest.mark.parametrize("codec", ["json", "msgpack"])
def test_several_versions_are_read_in_every_codec(codec):
    """Producers are upgraded one by one."""
    topic = App("acme").topic(
        "o",
        versions={1: OlderOrder, 2: Order},
        upcasters={1: _numbered},
        key_field="account",
        codec=codec,
    )
    encode = topic.codec.encode
    old, new = encode(OlderOrder(account="a")), encode(Order(account="a", number=5))
    second = ((("dia.schema"), b"2"),)
    values = [new, old, b"\xc1", encode(OlderOrder(account="x")), new]
    decoded = decode(topic, _batch(values, headers=[second, (), second, (), second]), LIMITS)
    assert [event.number for event in decoded.events] == [5, -1, 5]
    assert [position for position, _ in _bad(decoded)] == [2, 3]


def _numbered(old):
    if old.account == "x":
        raise ValueError("no number for x")
    return Order(account=old.account, number=-1)


@given(st.lists(st.builds(Order, account=st.text(), number=st.integers(0, 9)), max_size=5))
def test_an_encoded_event_is_decoded_equal(orders):
    """Events arrive as JSON, over HTTP or in a file, whatever the topic's codec."""
    documents = [msgspec.json.encode(order) for order in orders]
    for codec in ("json", "msgpack"):
        topic = _topic(codec)
        checked, keys, values = outgoing(topic, [*documents, b"{"], T, LIMITS)
        assert _bad(checked) == [(len(orders), "invalid_json")]
        if values:
            assert decode(topic, _batch(values, keys=keys), LIMITS).events == orders


class Strange:
    """A codec that breaks each of its contracts, selected by the first byte of the value."""

    name = "strange"
    text = False
    __hash__ = None  # > like an object that compares by value

    def __eq__(self, other):
        return isinstance(other, Strange)

    def decoder(self, value_type):
        def read(values):
            if any(value[:1] == b"!" for value in values):
                raise RuntimeError("lost")
            if any(value[:1] == b"?" for value in values):
                return Read([], {})
            bad = {i: Defect("odd", "$: odd", "$") for i, v in enumerate(values) if v[:1] == b"-"}
            return Read([v.decode() for v in values if v[:1] != b"-"], bad)

        return read

    def encode(self, event):
        return event.encode()


def test_a_codec_that_breaks_its_contract_affects_only_its_values():
    """An exception would stop the partition at the record, without end."""
    assert isinstance(Strange(), Codec)
    topic = _topic(Strange(), str, key_field="")
    decoded = decode(topic, _batch([b"a", b"!", b"b", b"?", b"-", b"c"]), LIMITS)
    assert decoded.events == ["a", "b", "c"]
    assert _bad(decoded) == [(1, "codec_failed"), (3, "codec_failed"), (4, "odd")]
    assert "RuntimeError: lost" in decoded.bad[0].message


@given(st.lists(st.binary(max_size=8) | st.none(), max_size=6))
def test_no_bytes_end_a_worker(values):
    """Every record becomes an event or a defect, in every codec."""
    for topic in (_topic(), _topic("msgpack"), _topic("raw", bytes, key_field="")):
        decoded = decode(topic, _batch(values, keys=[b"a"] * len(values)), LIMITS)
        assert len(decoded.events) + len(decoded.bad) == len(values)


@pytest.mark.parametrize("error", [MemoryError(), BrokerUnavailable("the registry is away")])
def test_an_error_outside_the_values_refuses_no_record(error):
    """Otherwise an outage would dead-letter valid records."""

    class Away:
        name = "away"
        text = False
        encode = Strange.encode

        def decoder(self, value_type):
            def read(values):
                raise error

            return read

    topic = _topic(Away(), str, key_field="")
    with pytest.raises(type(error)):
        decode(topic, _batch([b"a", b"b"]), LIMITS)
