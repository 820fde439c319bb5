"""Two tenants on one partition get the verdicts that each would get alone."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from agents.app import MODEL_METRICS
from streams.core.types import RecordBatch, TopicPartition
from tests.properties.test_judge import NOW_MS, Pipeline

TENANTS = ("acme", "acme\0", "a")
"""A victim, and two tenants whose names could be confused with it and an id."""
ids = st.none() | st.sampled_from(["1", "2", "\x001", "cme1", "me\x001", "x" * 40, "x" * 128])
events = st.tuples(
    st.sampled_from(TENANTS),
    ids,
    st.sampled_from([1.0, 2.0]),
    st.sampled_from([None, "r"]),
    st.integers(0, 400),
)


def _value(tenant, event_id, value, run_id):
    event = {
        "tenant_id": tenant, "model_id": "m", "metric": "x", "ts": NOW_MS, "value": value,
        "event_id": event_id, "run_id": run_id,
    }  # fmt: skip
    return json.dumps({name: given for name, given in event.items() if given is not None}).encode()


def _run(rows):
    """Applied, duplicates and refused of these (tenant, value, append time) rows."""
    n, pipeline = len(rows), Pipeline()
    tenants, values, append_ms = (list(column) for column in zip(*rows, strict=True))
    keys = [tenant.encode() for tenant in tenants]
    tp = TopicPartition(MODEL_METRICS.name, 0)
    pipeline.run(RecordBatch(tp, 0, n, list(range(n)), append_ms, keys, values, [()] * n))
    return pipeline


@given(st.lists(events, min_size=1, max_size=30))
def test_a_tenants_events_change_no_verdict_of_another(sent):
    """Neither equal ids, nor ids and names that run into each other, nor equal records with another
    tenant."""
    now_ms, rows = NOW_MS, []
    for tenant, event_id, value, run_id, step_ms in sent:
        now_ms += step_ms
        rows.append((tenant, _value(tenant, event_id, value, run_id), now_ms))
    together = _run(rows)
    alone = [
        (place, _run([rows[at] for at in place]))
        for tenant in TENANTS
        if (place := [at for at, row in enumerate(rows) if row[0] == tenant])
    ]
    assert together.dead == {place[at] for place, one in alone for at in one.dead}
    assert together.applied == sum(one.applied for _, one in alone)
    assert together.duplicates == sum(one.duplicates for _, one in alone)
