"""Decoding of a batch: valid events in order, and code, path and message of each invalid record."""

from __future__ import annotations

import gc
import json
import tracemalloc

import jsonschema
import msgspec
import pytest

from agents.app import MODEL_METRICS, SIMULATION_RESULT, TRAIN_RESULTS, app
from schemas import ModelMetric, SimulationResult
from streams.connect.schema_registry.documents import document
from streams.core.records import headers
from streams.core.topics.topic import MAX_RECORD_BYTES
from streams.core.types import Headers, RecordBatch, TopicPartition
from streams.engine.app.app import App
from streams.engine.decode.codecs import Decoded, Limits, check, decode

T = 1_700_000_000_000
LIMITS = Limits(future_max_s=300, late_max_s=604_800)
GOOD = {"tenant_id": "t", "model_id": "m", "metric": "loss", "ts": T, "value": 1.5}


def value(**changed) -> bytes:
    return json.dumps({**GOOD, **changed}).encode()


def without(name: str) -> bytes:
    return json.dumps({k: v for k, v in GOOD.items() if k != name}).encode()


def raw(number: str, field: str = "value") -> bytes:
    """A record whose ``field`` holds a token that json.dumps does not write."""
    return value(**{field: "@"}).replace(b'"@"', number.encode())


def batch(
    values, *, keys=None, append_ms=T, record_headers: list[Headers] | None = None, topic=None
) -> RecordBatch:
    n = len(values)
    return RecordBatch(
        TopicPartition(topic or MODEL_METRICS.name, 0),
        100,
        100 + n,
        list(range(100, 100 + n)),
        [append_ms] * n,
        keys if keys is not None else [b"t"] * n,
        list(values),
        record_headers or [()] * n,
    )


def one(raw_value: bytes | None, **around) -> Decoded:
    """Decode the record between two valid ones, which must be unaffected."""
    return decode(MODEL_METRICS, batch([value(), raw_value, value(ts=T + 1)], **around), LIMITS)


BAD = [
    (None, "empty_value", "$"),
    (b"", "empty_value", "$"),
    (b" ", "invalid_json", "$"),
    (b"{", "invalid_json", "$"),
    (b"nonsense", "invalid_json", "$"),
    (value() + b"\x00", "invalid_json", "$"),
    (value() + value(), "invalid_json", "$"),
    (b"\xef\xbb\xbf" + value(), "invalid_json", "$"),
    (value(tenant_id="@").replace(b"@", b"\\ud800"), "invalid_json", "$"),
    (b'{"x":' + b"[" * 200_000, "invalid_json", "$"),
    (b'{"x":' + b'{"y":' * 150_000, "invalid_json", "$"),
    (value(tenant_id="@").replace(b"@", b"\xff"), "invalid_utf8", "$"),
    (value(unknown="@").replace(b"@", b"\xc3"), "invalid_utf8", "$"),
    (b"[]", "wrong_type", "$"),
    (b"null", "wrong_type", "$"),
    (without("ts"), "missing_field", "$.ts"),
    (without("tenant_id"), "missing_field", "$.tenant_id"),
    (value(value="1.5"), "wrong_type", "$.value"),
    (value(value=None), "wrong_type", "$.value"),
    (value(value=True), "wrong_type", "$.value"),
    (value(ts=1.5), "wrong_type", "$.ts"),
    (value(model_id=7), "wrong_type", "$.model_id"),
    (value(metric=""), "out_of_range", "$.metric"),
    (value(metric="m" * 129), "out_of_range", "$.metric"),
    (value(event_id="e" * 129), "out_of_range", "$.event_id"),
    (value(value=1.1e150), "out_of_range", "$.value"),
    (value(ts=-1), "out_of_range", "$.ts"),
    (value(ts=2**63), "out_of_range", "$.ts"),
    (raw("9" * 5000, "ts"), "out_of_range", "$.ts"),
    (raw("NaN"), "non_finite", "$.value"),
    (raw("-Infinity"), "non_finite", "$.value"),
    (raw("1e999"), "non_finite", "$.value"),
    (raw('{"a":[1,NaN]}', "unknown"), "non_finite", "$.unknown.a[1]"),
    (value(pad="x" * MAX_RECORD_BYTES), "too_large", "$"),
    (value(ts=T + 300_001), "timestamp_in_future", "$.ts"),
    (value(ts=T - 604_800_001), "timestamp_too_old", "$.ts"),
    (value(ts=0), "timestamp_too_old", "$.ts"),
]


@pytest.mark.parametrize(("bad", "code", "path"), BAD)
def test_a_bad_record_has_its_code_and_path_and_leaves_its_neighbours_alone(bad, code, path):
    """Operators filter dead letters by code, and one invalid record must not cost its batch."""
    decoded = one(bad)
    assert [(b.position, b.code, b.path) for b in decoded.bad] == [(1, code, path)]
    assert decoded.bad[0].message.startswith(f"{path}: ")
    assert len(decoded.bad[0].message) <= 400
    assert [event.ts for event in decoded.events] == [T, T + 1] == decoded.event_ms.tolist()
    assert decoded.positions == [0, 2]
    assert decoded.append_ms.tolist() == [T, T]


ACCEPTED = [
    value(),
    value(ts=T + 300_000),
    value(ts=T - 604_800_000),
    value(value=7),
    value(value=-1e150),
    raw("-0.0"),
    raw("1e-400"),
    value(event_id=None, run_id=None),
    value(metric="m" * 128),
    value(metric="ü" * 128),
    value(unknown={"deep": [1, {"x": None}]}),
    b'{"tenant_id":"other",' + value()[1:],
    raw("1e999", "unknown"),
]


@pytest.mark.parametrize("accepted", ACCEPTED)
def test_values_inside_the_bounds_are_events(accepted):
    """Bounds are inclusive, unknown fields are ignored, and the last of repeated fields counts."""
    decoded = one(accepted)
    assert decoded.bad == []
    assert decoded.positions is None
    assert [type(event) for event in decoded.events] == [ModelMetric] * 3


def test_an_empty_batch_decodes_to_no_events():
    """After transaction markers the consumer may return a batch without records."""
    decoded = decode(MODEL_METRICS, batch([]), LIMITS)
    assert (decoded.events, decoded.positions, decoded.bad) == ([], None, [])
    assert len(decoded.event_ms) == len(decoded.append_ms) == 0


@pytest.mark.parametrize(
    "escaped", [rb"\ud800", rb"\udc00", rb"\ud83d\u0041", rb"\ud800 and more", rb"\ude00\ud83d"]
)
def test_half_of_a_surrogate_pair_is_named(escaped):
    """JavaScript and Python write it when a text is cut inside a character. The decoder calls such a
    record truncated, which it is not."""
    bad = value(note="?").replace(b"?", escaped)
    [found] = one(bad).bad
    assert (found.code, found.path) == ("invalid_json", "$")
    assert "one half of a surrogate pair" in found.message
    assert one(value(note="?").replace(b"?", rb"\ud83d\ude00")).bad == []
    assert "one half" not in one(bad[:-1]).bad[0].message


@pytest.mark.parametrize("key", [None, b"", b"T", b"other", b"\xff", b"t" * 4096])
def test_a_key_that_is_not_the_tenant_is_refused(key):
    """Deduplication works per partition: a record with a wrong key would bypass it."""
    decoded = one(value(), keys=[b"t", key, b"t"])
    assert [(b.position, b.code, b.path) for b in decoded.bad] == [(1, "key_mismatch", "key")]
    assert decoded.positions == [0, 2]


def test_a_wrong_key_takes_precedence_over_a_wrong_time():
    """A record has one code; the wrong partition takes precedence over the time."""
    decoded = one(value(ts=0), keys=[b"t", b"x", b"t"])
    assert [b.code for b in decoded.bad] == ["key_mismatch"]


@pytest.mark.parametrize("version", [b"2", b"0", b"", b"one", b"1.0", b"9" * 4000, None])
def test_an_unknown_schema_version_is_refused(version):
    """A record of an unknown version waits in the DLQ."""
    decoded = one(value(), record_headers=[(), ((headers.SCHEMA, version),), ()])
    assert [(b.position, b.code) for b in decoded.bad] == [(1, "unknown_schema_version")]


def test_the_last_of_repeated_headers_counts():
    """Replay appends its headers after the original ones."""
    repeated = ((headers.SCHEMA, b"99"), (headers.SCHEMA, b"1"))
    assert one(value(), record_headers=[(), repeated, ()]).bad == []


def test_a_replayed_record_is_judged_by_its_first_append_time():
    """A dead letter that is replayed a month later is judged by its first append time, so it is not
    late.
    """
    month_ms = 30 * 86_400_000
    replayed = ((headers.REPLAY_APPEND_TS, str(T).encode()),)
    records = batch(
        [value(), value()], append_ms=T + month_ms, record_headers=[replayed, ((("x"), b"y"),)]
    )
    decoded = decode(MODEL_METRICS, records, LIMITS)
    assert [(b.position, b.code) for b in decoded.bad] == [(1, "timestamp_too_old")]
    assert decoded.append_ms.tolist() == [T]


@pytest.mark.parametrize("stamp", [b"soon", b"", None, b"-5"])
def test_a_first_append_time_that_is_no_number_is_refused(stamp):
    """Nothing says how old the record is."""
    decoded = one(value(), record_headers=[(), ((headers.REPLAY_APPEND_TS, stamp),), ()])
    assert [(b.position, b.code, b.path) for b in decoded.bad] == [
        (1, "wrong_type", headers.REPLAY_APPEND_TS)
    ]


@pytest.mark.parametrize("stamp", [str(T + 1).encode(), b"9" * 18])
def test_a_first_append_after_this_one_counts_as_this_one(stamp):
    """A replay was refused again while the broker's clock was behind the one that stamped the record
    first. No header moves a record's time into the future."""
    decoded = one(value(), record_headers=[(), ((headers.REPLAY_APPEND_TS, stamp),), ()])
    assert decoded.bad == []
    assert decoded.append_ms.tolist() == [T] * 3


def test_a_deep_and_wide_record_is_refused_in_little_memory():
    """The error carries a long path and long numbers: a string for each would fill the memory."""
    deep = b'{"%s":' % (b"k" * 100) * 800 + b"[" + b"1," * 200_000 + b"NaN]" + b"}" * 800
    tracemalloc.start()
    decoded = one(deep)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [b.code for b in decoded.bad] == ["non_finite"]
    assert decoded.bad[0].path.startswith("$.kkk")
    assert len(decoded.bad[0].path) == 200
    assert peak_bytes < 200 << 20


def test_thousands_of_headers_are_only_read():
    """Thousands of headers cost time only."""
    bomb = tuple((f"h{i}", b"x" * 10) for i in range(20_000))
    assert one(value(), record_headers=[(), bomb, ()]).bad == []


def test_an_invalid_choice_is_out_of_range():
    """An undeclared status has the right type and a wrong value."""
    result = {
        "request_id": "r", "idempotency_key": "k", "tenant_id": "t", "status": "done",
        "summary": {}, "started_ts": T, "finished_ts": T,
    }  # fmt: skip
    records = batch(
        [json.dumps(result).encode(), json.dumps({**result, "status": "failed"}).encode()],
        topic=SIMULATION_RESULT.name,
    )
    decoded = decode(SIMULATION_RESULT, records, LIMITS)
    assert [(b.code, b.path) for b in decoded.bad] == [("out_of_range", "$.status")]
    assert [type(event) for event in decoded.events] == [SimulationResult]
    nested = {**result, "status": "failed", "error": {"code": "x"}}
    decoded = decode(SIMULATION_RESULT, batch([json.dumps(nested).encode()]), LIMITS)
    assert [(b.code, b.path) for b in decoded.bad] == [("missing_field", "$.error.message")]


def test_every_declared_source_topic_has_a_codec():
    """Otherwise a topic without a schema family fails at its first record."""
    for topic in app.topology.topics:
        decoded = decode(topic, batch([b"{}"], topic=topic.name), LIMITS)
        assert [b.code for b in decoded.bad] == ["missing_field"]


class _OldThing(msgspec.Struct):
    name: str
    ts: int
    size: int


class _Thing(msgspec.Struct):
    name: str
    ts: int
    size_bytes: int


def test_records_of_old_versions_are_read_as_the_latest():
    """Producers are upgraded one by one, so a batch holds several versions."""
    topic = App("test").topic(
        "things",
        versions={1: _OldThing, 2: _Thing},
        upcasters={1: lambda old: _Thing(old.name, old.ts, old.size * 1000)},
        key_field="name",
        time_field="ts",
    )
    old = b'{"name":"t","ts":%d,"size":2}' % T
    new = b'{"name":"t","ts":%d,"size_bytes":5}' % T
    second = ((headers.SCHEMA, b"2"),)
    first = ((headers.SCHEMA, b"1"),)
    records = batch(
        [old, new, b"{", old, old],
        record_headers=[(), second, second, first, second],
        topic="things",
    )
    decoded = decode(topic, records, LIMITS)
    assert [event.size_bytes for event in decoded.events] == [2000, 5, 2000]
    assert decoded.positions == [0, 1, 3]
    assert [(b.position, b.code) for b in decoded.bad] == [
        (2, "invalid_json"),
        (4, "missing_field"),
    ]


def test_the_edge_names_the_same_keys_and_defects():
    """The edge refuses exactly the records that the engine would dead-letter."""
    values = [value(), value(ts=0), b"{", value(tenant_id="other")]
    decoded, keys = check(MODEL_METRICS, values, T, LIMITS)
    assert keys == [b"t", b"other"]
    assert decoded.positions == [0, 3]
    behind = decode(MODEL_METRICS, batch(values, keys=[b"t", b"t", b"t", b"other"]), LIMITS)
    assert decoded.bad == behind.bad


TRAINING = {
    "result_id": "x", "run_id": "r", "tenant_id": "t", "model_id": "m", "version": "1",
    "event": "run_completed", "metrics": {}, "ts": T,
}  # fmt: skip


@pytest.mark.parametrize("alias", [None, "champion", "absent"])
@pytest.mark.parametrize("stage", [None, "live", "absent"])
@pytest.mark.parametrize("event", ["run_completed", "alias_updated", "stage_transitioned"])
def test_required_fields_of_a_kind_are_the_same_in_decoder_and_published_schema(
    event, alias, stage
):
    """Otherwise a producer could send a record that its schema allows and its agent always refuses."""
    result = {**TRAINING, "event": event, "alias": alias, "stage": stage}
    result = {name: found for name, found in result.items() if found != "absent"}
    needed = {"alias_updated": "alias", "stage_transitioned": "stage"}.get(event)
    valid = needed is None or result.get(needed) is not None
    decoded, _ = check(TRAIN_RESULTS, [json.dumps(result).encode()], T, LIMITS)
    schema = document(TRAIN_RESULTS, 1)
    assert jsonschema.Draft202012Validator(schema).is_valid(result) is valid
    assert [(bad.code, bad.path) for bad in decoded.bad] == (
        [] if valid else [("missing_field", f"$.{needed}")]
    )


def test_a_family_may_bound_its_events_below_the_record_size():
    """A training result must fit one outbox entry, whatever record size Kafka accepts."""
    limit = TRAIN_RESULTS.bytes_max
    fits = json.dumps({**TRAINING, "filler": ""}).encode()
    fits = fits.replace(b'"filler": ""', b'"filler": "%s"' % (b"x" * (limit - len(fits))))
    decoded, _ = check(TRAIN_RESULTS, [fits, fits.replace(b"x", b"xx", 1)], T, LIMITS)
    assert [(bad.position, bad.code) for bad in decoded.bad] == [(1, "too_large")]


def test_each_published_version_can_be_checked_before_it_is_sent(second_version):
    """Producers upgrade at different times; the check must be right for old and new versions."""
    old, new = value(), json.dumps({**GOOD, "value": 1.5, "unit": "s"}).encode()
    for version, values, refused in (
        (1, [old, new], []),
        (2, [old, new], [(0, "missing_field", "$.unit")]),
        (3, [old, new], [(i, "unknown_schema_version", "dia.schema") for i in (0, 1)]),
    ):
        decoded, keys = check(MODEL_METRICS, values, T, LIMITS, version)
        assert [(bad.position, bad.code, bad.path) for bad in decoded.bad] == refused
        assert len(keys) == len(decoded.events) == 2 - len(refused)


@pytest.mark.parametrize("bad", [b"{", value(ts="soon"), raw("1.5", "ts"), raw("1e400", "ts"), b""])
def test_a_refused_record_leaves_no_reference_cycle_to_its_batch(bad) -> None:
    """Workers rarely run the garbage collector: a reference cycle would keep each batch in memory
    for minutes.
    """
    decode(MODEL_METRICS, batch([value(), bad, value()]), LIMITS)
    gc.collect()
    gc.disable()
    try:
        decode(MODEL_METRICS, batch([value(), bad, value()]), LIMITS)
        assert gc.collect() == 0
    finally:
        gc.enable()
