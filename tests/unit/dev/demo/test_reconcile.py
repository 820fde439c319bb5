"""The demo's reconciliation: exact results pass, and any single error is found and named."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from streams.dev.demo.reconcile import Found, reconcile
from streams.dev.demo.windows import DIFFERENCES_SHOWN, compare
from streams.dev.workload.generator import Generator
from streams.dev.workload.oracle import Oracle
from streams.dev.workload.shape import Workload

EVENTS = 20_000


@pytest.fixture(scope="module")
def oracle() -> Oracle:
    generator = Generator(Workload(start_ms=1_700_000_000_000, tenants=20, models=3, poison=0.01))
    for _ in generator.blocks(EVENTS):
        pass
    return generator.oracle


def exact(oracle: Oracle) -> Found:
    """The rows of a correct pipeline, in another order."""
    truth = oracle.truth()
    order = np.random.default_rng(5).permutation(len(truth))
    windows = pa.table(
        {
            "tenant": np.array(truth.tenants)[truth.tenant_code[order]],
            "model": np.array(truth.models)[truth.model_code[order]],
            "metric": np.array(truth.metrics)[truth.metric_code[order]],
            "w": truth.w[order].astype(np.uint32),
            "n": truth.n[order].astype(np.uint64),
            # Another order of additions changes the last bits.
            "s1": truth.s1[order] * (1 + 2e-16),
        }
    )
    ledger = {
        "read": EVENTS, "applied": oracle.applied, "duplicates": oracle.duplicates,
        "dead": oracle.dead.total(),
    }  # fmt: skip
    return Found(
        windows=windows, topic_records=EVENTS, ledger=ledger, dead_in_ledger=oracle.dead,
        dead_in_dlq=oracle.dead, dead_in_rows=oracle.dead,
    )  # fmt: skip


def with_rows(found: Found, **columns) -> Found:
    changed = found.windows
    for name, values in columns.items():
        at = changed.schema.get_field_index(name)
        changed = changed.set_column(at, name, pa.array(values))
    return replace(found, windows=changed)


def failed(verdict) -> set[str]:
    return {check.name.strip() for check in verdict.checks if not check.ok}


def test_a_correct_pipeline_reconciles(oracle):
    """Rounding of the last bit is not a difference."""
    verdict = reconcile(oracle, exact(oracle))
    assert verdict.ok
    assert failed(verdict) == set()
    assert verdict.differences == ()


def test_a_missing_window_is_named(oracle):
    """The user queries the named window next."""
    found = exact(oracle)
    lost = found.windows.slice(0, 1).to_pylist()[0]
    verdict = reconcile(oracle, replace(found, windows=found.windows.slice(1)))
    assert failed(verdict) == {"windows", "missing", "events in windows"}
    (difference,) = verdict.differences
    assert difference.window.startswith(f"{lost['tenant']} {lost['model']} {lost['metric']} 2023-")
    assert difference.expected[0] == lost["n"]
    assert difference.found is None


@pytest.mark.parametrize("name", ["tenant", "model", "metric"])
def test_a_series_that_was_not_sent_is_unexpected(oracle, name):
    """State of another run must not hide behind matching totals."""
    found = exact(oracle)
    names = found.windows[name].to_pylist()
    names[0] = "nobody"
    verdict = reconcile(oracle, with_rows(found, **{name: names}))
    assert failed(verdict) == {"missing", "unexpected"}
    assert any("nobody" in difference.window for difference in verdict.differences)


def test_a_window_in_another_minute_is_both_missing_and_unexpected(oracle):
    """An event counted in the wrong window leaves every total right."""
    found = exact(oracle)
    w = found.windows["w"].to_numpy().copy()
    w[7] += 60_000 * 60
    assert failed(reconcile(oracle, with_rows(found, w=w))) == {"missing", "unexpected"}


def test_a_wrong_count_and_a_wrong_sum_are_told_apart(oracle):
    """A double count and a lost bit of precision have different causes."""
    found = exact(oracle)
    n = found.windows["n"].to_numpy().copy()
    n[3] += 1
    verdict = reconcile(oracle, with_rows(found, n=n))
    assert failed(verdict) == {"with a wrong count", "events in windows"}
    for flaw in (1 + 1e-8, np.nan):
        s1 = found.windows["s1"].to_numpy().copy()
        s1[np.argmax(np.abs(s1))] *= flaw
        assert failed(reconcile(oracle, with_rows(found, s1=s1))) == {"with a wrong sum"}


def test_a_series_on_two_shards_is_a_flaw(oracle):
    """Each shard would give a part of the result."""
    found = exact(oracle)
    twice = pa.concat_tables([found.windows, found.windows.slice(4, 1)])
    verdict = reconcile(oracle, replace(found, windows=twice))
    assert failed(verdict) == {"on two shards", "events in windows"}


def test_an_empty_database_is_not_a_success(oracle):
    """An empty database must not pass for lack of rows to compare."""
    found = exact(oracle)
    verdict = reconcile(
        oracle,
        replace(
            found, windows=found.windows.slice(0, 0), topic_records=0, ledger={},
            dead_in_ledger={}, dead_in_dlq={}, dead_in_rows={},
        ),
    )  # fmt: skip
    assert not verdict.ok
    assert len(verdict.differences) == DIFFERENCES_SHOWN
    assert {"events in the topic", "events read", "missing"} <= failed(verdict)


@pytest.mark.parametrize("counter", ["read", "applied", "duplicates", "dead"])
def test_each_counter_of_the_ledger_counts(oracle, counter):
    """Produced = applied + duplicates + dead letters, and each counter by itself."""
    found = exact(oracle)
    verdict = reconcile(
        oracle, replace(found, ledger={**found.ledger, counter: found.ledger[counter] + 1})
    )
    assert len(failed(verdict)) >= 1


@pytest.mark.parametrize("place", ["dead_in_ledger", "dead_in_dlq", "dead_in_rows"])
def test_dead_letters_are_compared_by_code_in_each_place(oracle, place):
    """A record that is refused with the wrong code leaves every total right."""
    found = exact(oracle)
    swapped = Counter(oracle.dead)
    swapped["invalid_json"] -= 1
    swapped["wrong_type"] += 1
    verdict = reconcile(oracle, replace(found, **{place: swapped}))
    assert {name.split(" in ")[0] for name in failed(verdict)} == {"invalid_json", "wrong_type"}


def test_no_windows_expected_and_none_found_is_equal():
    """A run may contain invalid events only."""
    generator = Generator(Workload(start_ms=1_700_000_000_000))
    none = pa.table({name: pa.array([], kind) for name, kind in (
        ("tenant", pa.string()), ("model", pa.string()), ("metric", pa.string()),
        ("w", pa.uint32()), ("n", pa.uint64()), ("s1", pa.float64()),
    )})  # fmt: skip
    compared = compare(generator.oracle.truth(), none)
    assert (compared.expected, compared.found, compared.differences) == (0, 0, ())
