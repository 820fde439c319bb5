"""The generator: its oracle gives the results of a correct pipeline."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict

import numpy as np
import pytest

from agents.app import MODEL_METRICS
from streams.core.errors import UsageError
from streams.core.types import RecordBatch, TopicPartition
from streams.dev.workload.generator import Generator
from streams.dev.workload.shape import DUPLICATE_LAG_MS, PRESETS, Workload, preset
from streams.engine.decode.codecs import Limits, decode

START = 1_700_000_000_000
LIMITS = Limits(future_max_s=300, late_max_s=604_800)


def generate(events: int, block_events: int = 5000, **changes):
    generator = Generator(Workload(start_ms=START, **changes))
    keys, values = [], []
    for block in generator.blocks(events, block_events):
        keys += block.keys
        values += block.values
    return generator.oracle, keys, values


def decoded(keys, values):
    n = len(values)
    tp = TopicPartition(MODEL_METRICS.name, 0)
    append = [START + 3_600_000] * n
    batch = RecordBatch(tp, 0, n, list(range(n)), append, keys, values, [()] * n)
    return decode(MODEL_METRICS, batch, LIMITS)


@pytest.mark.parametrize("name", ["spaced", "escaped", "utf8"])
def test_bodies_are_encoded_as_by_json_dumps(name):
    """Measurements of encodings must use the output of `json.dumps`."""
    _, keys, values = generate(500, **PRESETS[name] | {"poison": 0.0})
    for key, value in zip(keys, values, strict=True):
        event = json.loads(value)
        assert value == json.dumps(event, ensure_ascii=name != "utf8").encode()
        assert key == event["tenant_id"].encode()
        assert key.isascii() == (name == "spaced")


BUSY = {"duplicates": 0.2, "late": 0.1, "poison": 0.05, "future": 0.02, "tenants": 30, "models": 3}


@pytest.mark.parametrize("changes", [{}, BUSY, *PRESETS.values()])
def test_the_oracle_agrees_with_an_independent_count(changes):
    """Every proof of exactness relies on the oracle, so it is checked independently."""
    oracle, keys, values = generate(20_000, **changes)
    found = decoded(keys, values)
    assert Counter(bad.code for bad in found.bad) == oracle.dead
    seen, windows = {}, defaultdict(list)
    for event in found.events:
        if event.event_id in seen:
            assert seen[event.event_id] == event, "a duplicate must repeat its payload"
            continue
        seen[event.event_id] = event
        series = (event.tenant_id, event.model_id, event.metric, event.ts // 60_000 * 60)
        windows[series].append(event.value)
    assert oracle.applied == len(seen)
    assert oracle.duplicates == len(found.events) - len(seen)
    assert oracle.produced == len(values)
    truth = oracle.truth()
    assert len(truth) == len(windows)
    for i in range(len(truth)):
        series = (
            truth.tenants[truth.tenant_code[i]],
            truth.models[truth.model_code[i]],
            truth.metrics[truth.metric_code[i]],
            truth.w[i],
        )
        expected = windows[series]
        assert truth.n[i] == len(expected)
        assert truth.s1[i] == pytest.approx(math.fsum(expected), rel=1e-15, abs=1e-15)
        assert truth.s_abs[i] == pytest.approx(math.fsum(map(abs, expected)), rel=1e-15)


def test_the_same_numbers_give_the_same_bytes_in_every_block_size():
    """A reproduced failure must get the same events, whatever the block size."""
    _, keys, values = generate(7000, **BUSY)
    for block_events in (1, 777, 7000):
        oracle, other_keys, other_values = generate(7000, block_events, **BUSY)
        assert (other_keys, other_values) == (keys, values)
        assert oracle.produced == 7000


@pytest.mark.parametrize("other", [{"seed": 2}, {"start_ms": START + 1}])
def test_another_seed_or_start_shares_no_event_id(other):
    """Events of two runs on one topic must not be duplicates of each other."""
    ids = []
    for changes in ({}, other):
        block = Generator(Workload(**{"start_ms": START, **changes})).block(2000)
        ids.append({event.event_id for event in decoded(*block).events})
    assert min(map(len, ids)) > 1800
    assert ids[0].isdisjoint(ids[1])


def test_shares_equal_the_options():
    """A benchmark quotes these numbers."""
    oracle, _, _ = generate(200_000)
    assert oracle.duplicates / 200_000 == pytest.approx(0.05, rel=0.05)
    poisoned = oracle.dead.total() - oracle.dead["timestamp_in_future"]
    assert poisoned / 200_000 == pytest.approx(0.001, rel=0.3)
    assert set(oracle.dead) == {
        "invalid_json", "missing_field", "wrong_type", "invalid_utf8", "key_mismatch",
        "timestamp_in_future",
    }  # fmt: skip


def test_times_stay_within_their_bounds():
    """Late by at most late_max_s; duplicates by at most 9.6 minutes more."""
    _, keys, values = generate(50_000, step_ms=50, late=0.3, late_max_s=90)
    events = decoded(keys, values).events
    first_at: dict[str, int] = {}
    lags, lates = [], []
    at_ms = START
    for event in events:
        at_ms = max(at_ms, event.ts)
        if event.event_id in first_at:
            lags.append(at_ms - first_at[event.event_id])
        else:
            first_at[event.event_id] = at_ms
            lates.append(at_ms - event.ts)
    assert 80_000 < max(lates) <= 91_000
    assert DUPLICATE_LAG_MS * 0.8 < max(lags) <= DUPLICATE_LAG_MS + 10_000


def test_tenants_follow_zipf_and_the_hot_one_is_hot():
    """Real partitions and shards are uneven because of skew."""
    for changes, share in [({}, 0.17), ({"hot": 0.9}, 0.917), ({"zipf": 0.0}, 0.001)]:
        _, keys, _ = generate(50_000, **changes)
        assert keys.count(b"tenant-0000") / 50_000 == pytest.approx(share, rel=0.3)


def test_values_are_both_positive_and_negative():
    """Sketches and sums must get both signs."""
    oracle, _, _ = generate(5000)
    truth = oracle.truth()
    assert np.count_nonzero(truth.s1 < 0) > 100
    assert np.all(np.abs(truth.s1) <= truth.s_abs)


def test_an_oracle_without_events_expects_no_rows():
    """A demo that is interrupted before its first event must reconcile."""
    assert len(Generator(Workload(start_ms=START)).oracle.truth()) == 0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"duplicates": 1.5}, "duplicates is 1.5"),
        ({"poison": -0.1}, "poison is -0.1"),
        ({"duplicates": 0.5, "late": 0.5}, "the sum of all shares is 1"),
        ({"tenants": 0}, "tenants is 0"),
        ({"step_ms": 0}, "step_ms is 0"),
        ({"step_ms": float("nan")}, "step_ms is nan"),
    ],
)
def test_invalid_shapes_are_refused(changes, said):
    """The message is shown to the user who typed the option."""
    with pytest.raises(UsageError, match=said):
        Workload(start_ms=START, **changes)


def test_an_unknown_preset_names_the_known():
    """A benchmark script may misspell it."""
    with pytest.raises(UsageError, match="wide, narrow, hot, dups"):
        preset("broad", start_ms=START)
