"""Tables of windows with aggregators: late records and closed rows depend on the log alone, not on
batches, commits, rewrites and restarts."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.core.errors import StateLimit, TableChanged
from streams.engine.aggregates.aggregate import FieldType, FieldValues
from streams.engine.aggregates.ends import First
from streams.engine.aggregates.sums import Count, Sum
from streams.engine.aggregates.top_k import TopK
from streams.engine.windows.aggregated.aggregate_table import WindowBatch
from streams.engine.windows.aggregated.aggregate_windows import AggregateWindows
from streams.engine.windows.aggregated.session_windows import SessionWindows
from streams.engine.windows.aggregated.state_shares import Tenants
from streams.engine.windows.aggregated.window_keys import KeyTuples
from streams.engine.windows.windowed import Windows

GRACE_MS = 10
FOLD = {"n": Count(), "s": Sum("v"), "first": First("v"), "top": TopK("v", k=1, capacity=2)}
REORDERED = dict(sorted(FOLD.items(), reverse=True))
TYPES = {"v": FieldType(int)}
TUMBLING, HOPPING = (
    Windows(size_ms=20, step_ms=20, expires_ms=GRACE_MS),
    Windows(size_ms=30, step_ms=20, expires_ms=GRACE_MS),
)
GAP_MS = 15
SHAPES = [TUMBLING, HOPPING, Windows(size_ms=40, step_ms=10, expires_ms=GRACE_MS), GAP_MS]

RECORDS = st.lists(
    st.tuples(st.sampled_from("ab"), st.integers(-40, 40), st.integers(0, 3)), max_size=40
)
"""Key, distance in ms of the event time from a time that advances by 3 ms a record, value."""


def _table(shape, declaration=None, max_bytes=1 << 62, fold=FOLD):
    options = (fold, TYPES, GRACE_MS, declaration or {"shape": str(shape)}, max_bytes)
    if isinstance(shape, int):
        return SessionWindows("windows", shape, *options)
    return AggregateWindows("windows", shape, *options)


def _timed(records):
    """Records as (offset, key, event time, value), in log order."""
    return [(n, key, 1000 + 3 * n + off, v) for n, (key, off, v) in enumerate(records)]


def _fold(table, records, watermark_ms):
    """Fold one batch. Returns the offsets of late records and the watermark after it."""
    if not records:
        return [], watermark_ms
    offsets, keys, times, values = (list(column) for column in zip(*records, strict=True))
    before = np.maximum.accumulate(np.array([watermark_ms, *times[:-1]], np.int64))
    batch = WindowBatch(
        KeyTuples([(key,) for key in keys], len(keys)),
        np.array(times, np.int64),
        np.array(offsets, np.int64),
        before,
        {"v": FieldValues(np.array(values, np.int64))},
        Tenants.of(keys),
    )
    table.advance(watermark_ms)
    late = table.late(batch.times_ms, before)
    if not late.all():
        table.fold(batch.take(np.flatnonzero(~late)))
    watermark_ms = max(watermark_ms, *times)
    table.advance(watermark_ms)
    return [offsets[row] for row in np.flatnonzero(late)], watermark_ms


def _commit(table, store, seq):
    for key, value in table.delta(seq):
        if value is None:
            del store[key]
        else:
            store[key] = value


def _restarted(shape, store, most, fold=FOLD):
    table = _table(shape, fold=fold)
    table.load(sorted(store.items()))
    assert table.delta(1) == []
    table._room = most
    return table


def _run(shape, records, cuts, acts, most=1 << 20):
    """Late offsets and closed rows. After batch n, ``acts[n]`` is executed: "reorder" restarts with
    the aggregators declared in another order. A commit closes at most ``most`` keys."""
    table, store, late, rows, watermark_ms = _table(shape), {}, [], [], 0
    table._room = most
    bounds = sorted({0, len(records), *(cut for cut in cuts if cut < len(records))})
    for number, (begin, end) in enumerate(pairwise(bounds)):
        found, watermark_ms = _fold(table, records[begin:end], watermark_ms)
        late += found
        rows += table.take_closed()
        act = acts[number % len(acts)] if acts else ""
        table.take_early(3)
        if act == "rewrite" and store:
            key = sorted(store)[number % len(store)]
            table.rewrite(key, store[key])
        if act:
            _commit(table, store, number)
            table._room = most
        if act == "restart":
            table = _restarted(shape, store, most)
        if act == "reorder":
            table = _restarted(shape, store, most, REORDERED)
    for seq in range(1000, 1200):
        if not len(table):
            break
        _commit(table, store, seq)
        table._room = most
        if "restart" in acts:
            table = _restarted(shape, store, most)
        table.advance(1 << 40)
        closed = table.take_closed()
        assert closed
        rows += closed
    assert len(table) == 0
    _commit(table, store, 1200)
    assert not table.changed
    assert {*store} <= {b"", b"\xc0", b"\xc1"}
    return late, rows


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@settings(max_examples=60, deadline=None)
@given(
    records=RECORDS,
    cuts=st.lists(st.integers(1, 40), max_size=6),
    acts=st.lists(st.sampled_from(["", "commit", "restart", "rewrite", "reorder"]), max_size=4),
    most=st.sampled_from([1, 2, 1000]),
)
def test_rows_do_not_depend_on_batches_commits_and_restarts(shape, records, cuts, acts, most):
    """Nor on the order in which the aggregators are declared. The reference run has one record per
    batch."""
    records = _timed(records)
    singly = _run(shape, records, range(1, 41), [])
    late, rows = _run(shape, records, cuts, acts, most)
    assert (late, sorted(rows, key=_order)) == (singly[0], sorted(singly[1], key=_order))


def _order(row):
    return row.end_ms, row.key, row.start_ms


def _windows_oracle(shape, records):
    late, held, watermark_ms = [], {}, 0
    for offset, key, at_ms, value in records:
        starts = [
            start for start in shape.starts(at_ms)
            if start + shape.size_ms > watermark_ms - GRACE_MS
        ]  # fmt: skip
        for start in starts:
            held.setdefault((key, start), []).append((at_ms, offset, value))
        if not starts:
            late.append(offset)
        watermark_ms = max(watermark_ms, at_ms)
    ends = {(key, start): start + shape.size_ms for key, start in held}
    return late, held, ends


def _sessions_oracle(gap_ms, records):
    late, held, ends, live, watermark_ms = [], {}, {}, [], 0
    for offset, key, at_ms, value in [*records, (-1, "a", 1 << 40, 0)]:
        until = watermark_ms - GRACE_MS
        for session in [one for one in live if max(one[1])[0] + gap_ms <= until]:
            live.remove(session)
            held[session[0], min(session[1])[0]] = session[1]
            ends[session[0], min(session[1])[0]] = max(session[1])[0]
        if at_ms + gap_ms <= until:
            late.append(offset)
        else:
            near = [
                one for one in live
                if one[0] == key and min(one[1])[0] - gap_ms < at_ms < max(one[1])[0] + gap_ms
            ]  # fmt: skip
            joined = [(at_ms, offset, value), *(record for one in near for record in one[1])]
            live = [one for one in live if one not in near] + [(key, joined)]
        watermark_ms = max(watermark_ms, at_ms)
    for key, found in live:
        if (1 << 40, -1, 0) not in found:
            held[key, min(found)[0]], ends[key, min(found)[0]] = found, max(found)[0]
    return late, held, ends


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@settings(max_examples=60, deadline=None)
@given(records=RECORDS)
def test_windows_equal_the_oracles(shape, records):
    """The oracle keeps every record of every window."""
    records = _timed(records)
    oracle = _sessions_oracle if isinstance(shape, int) else _windows_oracle
    late, held, ends = oracle(shape, records)
    found_late, rows = _run(shape, records, [7, 20], ["commit", "restart"])
    assert found_late == late
    assert {(row.key[0], row.start_ms): row.end_ms for row in rows} == ends
    for row in rows:
        members = held[row.key[0], row.start_ms]
        assert row.row["n"] == len(members)
        assert row.row["s"] == sum(value for *_, value in members)
        assert row.row["first"] == min(members)[2]


@settings(max_examples=40, deadline=None)
@given(records=RECORDS, shape=st.sampled_from(SHAPES[:3]))
def test_provisional_rows_show_the_content_of_open_windows(records, shape):
    """As many calls as there are rows give all of them, and none of a closed window."""
    records = _timed(records)
    table = _table(shape)
    _, watermark_ms = _fold(table, records, 0)
    _, held, ends = _windows_oracle(shape, records)
    live = {where for where, end in ends.items() if end > watermark_ms - GRACE_MS}
    shown = {}
    while table.has_news:
        for row in table.take_early(2):
            shown[row.key[0], row.start_ms] = row.row["n"]
    assert shown == {where: len(held[where]) for where in live}


@settings(max_examples=40, deadline=None)
@given(records=RECORDS, shape=st.sampled_from(SHAPES))
def test_a_table_knows_when_its_open_windows_begin(records, shape):
    """A move of days waits for their open windows, and for no other one."""
    table = _table(shape)
    _fold(table, _timed(records), 0)
    assert table.has_windows(0, 0) == bool(records)
    table.take_closed()
    ranges = [(start, start + width) for start in range(900, 1250, 7) for width in (1, 10, 33)]
    said = {one: table._begins_in(*one) for one in ranges}
    table._room = 1 << 20
    table.advance(1 << 41)
    starts = [row.start_ms for row in table.take_closed()]
    assert said == {(low, high): any(low <= one < high for one in starts) for low, high in ranges}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_state_of_another_declaration_is_refused(shape):
    """The error names the difference: decoded under another size, the numbers would be wrong."""
    table, store = _table(shape), {}
    _fold(table, _timed([("a", 0, 1)]), 0)
    _commit(table, store, 1)
    with pytest.raises(TableChanged, match="fold n=None"):
        _table(shape, {"shape": str(shape), "fold n": "Count()"}).load(sorted(store.items()))


@pytest.mark.parametrize("grace_ms", [0, 1000])
def test_a_closed_window_stays_closed_under_a_longer_grace(grace_ms):
    """Reopened, its row would lose the values of before."""
    table, store = _table(TUMBLING), {}
    _, watermark_ms = _fold(table, _timed([("a", 0, 1), ("a", 40, 1)]), 0)
    _commit(table, store, 1)
    again = AggregateWindows("windows", TUMBLING, FOLD, TYPES, grace_ms, {"shape": str(TUMBLING)})
    again.load(sorted(store.items()))
    late = again.late(np.array([1000, 1043]), np.array([watermark_ms, watermark_ms]))
    assert late.tolist() == [True, False]


def test_a_table_that_is_too_large_stops_its_partition():
    """`StateLimit` names the setting, before memory runs out."""
    with pytest.raises(StateLimit, match="DIA_MAX_TABLE_BYTES"):
        _fold(_table(TUMBLING, max_bytes=100), _timed([("a", 0, 1)]), 0)
