"""Shares of live window states: no order of records reaches the bound, one tenant's growth changes
nothing of another, and verdicts do not depend on batching where states have one size."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.engine.aggregates.sums import Count
from streams.engine.windows.aggregated.aggregate_table import WindowBatch
from streams.engine.windows.aggregated.aggregate_windows import AggregateWindows
from streams.engine.windows.aggregated.session_windows import SessionWindows
from streams.engine.windows.aggregated.state_shares import Tenants, refused_rows
from streams.engine.windows.aggregated.window_keys import KeyTuples
from streams.engine.windows.windowed import Windows

STATE_BYTES = 543
BOUND = 20
"""states"""
MAX_BYTES = BOUND * STATE_BYTES
GRACE_MS = 1000
WINDOWS = Windows(size_ms=20, step_ms=10, expires_ms=GRACE_MS)
GAP_MS = 5
SHAPES = [WINDOWS, GAP_MS]
RECORDS = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 15), st.integers(0, 60)), max_size=120
)
"""Tenant, page, event time."""


def _table(shape, grace_ms=GRACE_MS):
    options = ({"n": Count()}, {}, grace_ms, {}, MAX_BYTES, 0)
    if isinstance(shape, int):
        return SessionWindows("windows", shape, *options)
    return AggregateWindows("windows", shape, *options)


def _batch(records, watermark_ms):
    keys = [(tenant, page) for tenant, page, _ in records]
    times = [at_ms for *_, at_ms in records]
    return WindowBatch(
        KeyTuples(keys, len(keys)),
        np.array(times, np.int64),
        np.arange(len(records)),
        np.maximum.accumulate(np.array([watermark_ms, *times[:-1]], np.int64)),
        {},
        Tenants.of([SimpleNamespace(tenant_id=tenant) for tenant, *_ in records]),
    )


def _offer(table, records, watermark_ms=0, repeats=()):
    """Fold one batch as an agent of windows does, without ``repeats``, which it drops by their ids;
    return the refused and the late records."""
    batch = _batch(records, watermark_ms)
    kept = ~table.late(batch.times_ms, batch.before_ms)
    late = int((~kept).sum())
    rows = np.flatnonzero(kept)
    suffices = table.suffices(len(rows), batch)
    if not len(rows):
        return [], late
    checks = [table.share_check(batch, rows, sure=not repeats)]
    refused = [row for row, _ in refused_rows(checks, rows.tolist(), batch.tenants)]
    assert not (suffices and refused), "a record was refused in a batch that needed no check"
    kept[[*refused, *(row for row in repeats if row < len(records))]] = False
    if kept.any():
        table.fold(batch.take(np.flatnonzero(kept)))
    return refused, late


def _held(table):
    """States by owner, which must equal the table's counts."""
    sessions = isinstance(table, SessionWindows)
    live = np.array([*table._sessions], np.int64) if sessions else table._panes.live()
    found = Counter(key[0] for key, *_ in table._places(live))
    assert {tenant: STATE_BYTES * n for tenant, n in found.items()} == table._owners._held
    assert table.bytes_used == STATE_BYTES * len(table)
    return found


def _batches(records, cuts):
    bounds = sorted({0, len(records), *(cut for cut in cuts if cut < len(records))})
    return [records[begin:end] for begin, end in pairwise(bounds)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@settings(max_examples=60, deadline=None)
@given(
    records=RECORDS,
    cuts=st.lists(st.integers(1, 119), max_size=5),
    steps=st.integers(0, 40),
    repeats=st.sets(st.integers(0, 119), max_size=60),
)
def test_no_order_of_records_and_closes_reaches_the_bound(shape, records, cuts, steps, repeats):
    """So small states never stop their partition with `StateLimit`, whatever tenants send."""
    table, watermark_ms = _table(shape, grace_ms=10), 0
    for number, some in enumerate(_batches(records, cuts)):
        moved = [(tenant, page, at_ms + number * steps) for tenant, page, at_ms in some]
        _offer(table, moved, watermark_ms, sorted(repeats))
        watermark_ms = max([watermark_ms, *(at_ms for *_, at_ms in moved)])
        assert len(table) < BOUND
        assert max(_held(table).values(), default=0) <= (BOUND + 1) // 2
        table.advance(watermark_ms)
        _held(table)
    table.advance(1 << 40)
    assert (len(table), _held(table)) == (0, Counter())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@settings(max_examples=60, deadline=None)
@given(records=RECORDS, cuts=st.lists(st.integers(1, 119), max_size=5))
def test_a_verdict_does_not_depend_on_batching(shape, records, cuts):
    """The reference run has one record per batch; no sessions join."""
    if isinstance(shape, int):
        records = [(tenant, page, at_ms // 20 * 20) for tenant, page, at_ms in records]

    def refused(batches):
        table, at, found = _table(shape), 0, []
        for some in batches:
            found += [at + row for row in _offer(table, some)[0]]
            at += len(some)
        return found, _held(table)

    assert refused(_batches(records, cuts)) == refused(_batches(records, range(1, 120)))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_one_tenant_gets_half_and_the_next_finds_room(shape):
    """Whichever tenant comes first."""
    table = _table(shape)
    refused, _ = _offer(table, [("a", page, 0) for page in range(50)])
    assert len(refused) == 50 - BOUND // 2
    assert _offer(table, [("b", page, 0) for page in range(BOUND // 4)]) == ([], 0)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_restart_finds_the_owners_in_the_keys(shape):
    """So a tenant at its share stays there after a restart, and no other tenant is charged."""
    table, again = _table(shape, grace_ms=0), _table(shape, grace_ms=0)
    _offer(table, [("a", page, 0) for page in range(8)])
    again.load(sorted(table.delta(1)))
    assert _held(again) == {"a": 8}
    refused, _ = _offer(again, [("a", page, 100) for page in range(20)])
    assert 0 < len(refused) < 20
    assert _held(again) == {"a": 28 - len(refused)}
    again.advance(104)
    assert _held(again) == {"a": 20 - len(refused)}


def test_records_refused_by_id_hide_no_session():
    """Repeats with other times would otherwise join sessions through a record that is not counted."""
    table = _table(GAP_MS)
    _offer(table, [("a", 0, 0)])
    hiding = [("a", 0, at_ms) for at_ms in range(0, 400, 4)]
    _offer(table, [*hiding, *(("a", 0, at_ms) for at_ms in range(5, 400, 5))], 0, range(100))
    assert len(table) <= (BOUND + 1) // 2
