"""Decoding raises nothing, and a batch decodes as its records do one by one."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from agents.app import app
from streams.core.records import headers
from streams.core.types import RecordBatch, TopicPartition
from streams.engine.decode.codecs import Limits, decode
from tests.depth import cases

T = 1_700_000_000_000
LIMITS = Limits(future_max_s=300, late_max_s=604_800)

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20),
    st.sampled_from(["t", "completed", "run_completed"]),
)  # fmt: skip
WELL = {
    "tenant_id": "t", "model_id": "t", "metric": "x", "ts": T, "value": 1.0, "request_id": "r",
    "idempotency_key": "k", "status": "failed", "summary": {}, "started_ts": T, "finished_ts": T,
    "scenario": "s", "priority": 5, "trials": 1, "parameters": {}, "result_id": "r", "run_id": "u",
    "version": "1", "event": "run_completed", "metrics": {},
}  # fmt: skip
NAMES = [*WELL, "event_id", "error", "seed", "alias", "stage"]


def _with(changes: dict, dropped: set) -> bytes:
    merged = {**WELL, **changes}
    return json.dumps({k: v for k, v in merged.items() if k not in dropped}).encode(
        errors="surrogatepass"
    )


mutated = st.builds(
    _with,
    st.dictionaries(st.sampled_from(NAMES), st.one_of(scalars, st.just({"a": 1})), max_size=2),
    st.one_of(st.just(set()), st.sets(st.sampled_from(NAMES), max_size=1)),
)
torn = st.builds(lambda raw, cut: raw[: cut % (len(raw) + 1)], mutated, st.integers(0, 10_000))
values = st.one_of(
    st.none(), st.binary(max_size=60), mutated, mutated, torn, st.just(_with({}, set()))
)
keys = st.one_of(st.just(b"t"), st.just(b"t"), st.none(), st.binary(max_size=5))
stamps = st.one_of(
    st.none(), st.binary(max_size=20), st.integers(T - 10, T + 10).map(lambda n: str(n).encode())
)
header_lists = st.one_of(
    st.just(()),
    st.lists(
        st.tuples(
            st.sampled_from([headers.SCHEMA, headers.REPLAY_APPEND_TS, "other"]),
            st.one_of(stamps, st.just(b"1")),
        ),
        max_size=3,
    ).map(tuple),
)
records = st.lists(
    st.tuples(values, keys, header_lists, st.integers(T - 5, T + 1_000_000_000)), max_size=12
)


def _batch(topic, rows) -> RecordBatch:
    n = len(rows)
    return RecordBatch(
        TopicPartition(topic.name, 0), 0, n, list(range(n)),
        [row[3] for row in rows], [row[1] for row in rows],
        [row[0] for row in rows], [row[2] for row in rows],
    )  # fmt: skip


@given(st.sampled_from(app.topology.topics), records)
@settings(max_examples=cases(400), deadline=None)
def test_a_batch_decodes_as_its_records_do_alone(topic, rows):
    """A neighbour, valid or not, does not change a record's result."""
    decoded = decode(topic, _batch(topic, rows), LIMITS)
    positions = range(len(rows)) if decoded.positions is None else decoded.positions
    together = dict(
        zip(positions, zip(decoded.events, decoded.append_ms, strict=True), strict=True)
    )
    assert len(together) + len(decoded.bad) == len(rows)
    for i, row in enumerate(rows):
        alone = decode(topic, _batch(topic, [row]), LIMITS)
        if alone.bad:
            assert alone.bad[0]._replace(position=i) in decoded.bad
        else:
            assert together[i] == (alone.events[0], alone.append_ms[0])


@given(st.binary(max_size=300))
@settings(max_examples=cases(400), deadline=None)
def test_arbitrary_bytes_never_raise(raw):
    """Any client may have written to the log: no bytes may stop a partition."""
    rows = [(raw, raw[:5], ((headers.SCHEMA, raw[5:9]),) if raw[:1] > b"\x80" else (), T)]
    for topic in app.topology.topics:
        decoded = decode(topic, _batch(topic, rows), LIMITS)
        assert len(decoded.events) + len(decoded.bad) == 1
