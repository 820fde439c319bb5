"""Bytes of `app.windows` (docs/protocols/bounds.md): growth is charged to the tenant that causes
it, never reaches the bound, and changes nothing of another tenant."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.engine.aggregates.aggregate import Additions, FieldType
from streams.engine.aggregates.distinct import Distinct
from streams.engine.aggregates.ends import First, Last
from streams.engine.aggregates.field_columns import keys_of, values_of
from streams.engine.aggregates.quantiles import Quantiles
from streams.engine.aggregates.top_k import TopK
from streams.engine.aggregates.window_states import WindowStates
from streams.engine.windows.aggregated.aggregate_table import WindowBatch
from streams.engine.windows.aggregated.aggregate_windows import AggregateWindows
from streams.engine.windows.aggregated.session_windows import SessionWindows
from streams.engine.windows.aggregated.state_shares import Tenants, refused_rows
from streams.engine.windows.aggregated.window_keys import KeyTuples
from streams.engine.windows.windowed import Windows

BOUND = 60_000
QUIET_BYTES = BOUND // 4 - 5000
"""A tenant with less finds room for four more records beside another one."""
GRACE_MS = 10
SHAPES = [Windows(size_ms=20, step_ms=10, expires_ms=GRACE_MS), 5]
"""Hopping windows, and sessions with a gap of 5 ms."""
TYPES = {"tenant_id": FieldType(str), "page": FieldType(str), "text": FieldType(str, optional=True)}
FOLDS = {
    "distinct": {"d": Distinct("text")},
    "fine distinct": {"d": Distinct("text", error=0.005)},
    "top": {"t": TopK("text", k=2, capacity=5)},
    "ends": {"f": First("text"), "l": Last("text")},
    "quantiles": {"q": Quantiles("number")},
}
TEXTS = st.one_of(
    st.none(),
    st.text("ab", max_size=3),
    st.integers(0, 3000).map(lambda n: "x" * n),
    st.integers(0, 800).map(lambda n: "é" * n),
)
OFFSETS = itertools.count()
RECORDS = st.tuples(st.sampled_from("pq"), st.integers(0, 20), TEXTS)
"""Page, event time, text."""
BATCHES = st.lists(
    st.lists(st.tuples(st.sampled_from("abc"), RECORDS), min_size=1, max_size=12), max_size=12
)


def _event(tenant, record):
    page, at_ms, text = record
    return SimpleNamespace(
        tenant_id=tenant, page=page, at_ms=at_ms, text=text, number=float(len(text or "") + 1),
        offset=next(OFFSETS),
    )  # fmt: skip


def _types(fold):
    return {**TYPES, "number": FieldType(float)} if "q" in fold else TYPES


def _table(shape, fold, by=("tenant_id", "page")):
    options = (fold, _types(fold), GRACE_MS, {}, BOUND, 0 if "tenant_id" in by else None)
    if isinstance(shape, int):
        return SessionWindows("windows", shape, *options)
    return AggregateWindows("windows", shape, *options)


def _fields(fold):
    return {name: _types(fold)[name] for one in fold.values() for name in one.fields}


def _batch(fold, events, watermark_ms=0, by=("tenant_id", "page")):
    times = [event.at_ms for event in events]
    return WindowBatch(
        KeyTuples(*keys_of(events, by, TYPES, {})),
        np.array(times, np.int64),
        np.array([event.offset for event in events], np.int64),
        np.maximum.accumulate(np.array([watermark_ms, *times[:-1]], np.int64)),
        values_of(events, _fields(fold), {}),
        Tenants.of(events),
    )


def _offer(table, fold, events, watermark_ms=0, by=("tenant_id", "page")):
    """Fold one batch as an agent of windows does; return the refused records."""
    batch = _batch(fold, events, watermark_ms, by)
    kept = ~table.late(batch.times_ms, batch.before_ms)
    rows = np.flatnonzero(kept)
    if not len(rows):
        return []
    suffices = table.suffices(len(rows), batch)
    checks = [table.share_check(batch, rows, sure=True)]
    refused = [row for row, _ in refused_rows(checks, rows.tolist(), batch.tenants)]
    assert not (suffices and refused), "a record was refused in a batch that needed no check"
    kept[refused] = False
    if kept.any():
        table.fold(batch.take(np.flatnonzero(kept)))
    return refused


def _live(table):
    if isinstance(table, SessionWindows):
        return np.array([*table._sessions], np.int64)
    return table._panes.live()


def _check(table):
    """The byte counts equal the live states' bytes, and each owner is within its share."""
    owners = table._owners
    live = _live(table)
    sizes = table._states.sizes(live) if len(live) else []
    held, common = Counter(), 0
    for slot, size, (key, *_) in zip(live.tolist(), sizes, table._places(live), strict=True):
        held[owners.owner(slot)] += table._begun_bytes((key,))[0] + (size if owners.in_key else 0)
        common += 0 if owners.in_key else size
    assert table.bytes_used == held.total() + common < BOUND
    held.pop("", None)
    assert (owners._held, owners.common) == (held, common)
    assert max([common, *held.values()]) <= BOUND // 2


@pytest.mark.parametrize("fold", FOLDS.values(), ids=FOLDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("by", [("tenant_id", "page"), ("page",)], ids=str)
@settings(max_examples=12, deadline=None)
@given(batches=BATCHES, step_ms=st.integers(0, 30))
def test_no_order_of_growing_values_reaches_the_bound(fold, shape, by, batches, step_ms):
    """So windows never stop their partition, also if tenants share states."""
    table, watermark_ms = _table(shape, fold, by), 0
    for number, some in enumerate(batches):
        events = [_event(*one) for one in some]
        for event in events:
            event.at_ms += number * step_ms
        _offer(table, fold, events, watermark_ms, by)
        watermark_ms = max([watermark_ms, *(event.at_ms for event in events)])
        _check(table)
        table.advance(watermark_ms)
        _check(table)
    again = _table(shape, fold, by)
    again.load(sorted(table.delta(1)))
    assert again.bytes_used == table.bytes_used, "a restart counted other bytes"
    if again._owners.in_key:
        assert again._owners._held == table._owners._held
    table.advance(1 << 40)
    assert (table.bytes_used, len(table)) == (0, 0)


def _rows(table, tenant):
    slots = _live(table)
    rows = table._states.rows(slots) if len(slots) else []
    pairs = zip(table._places(slots), rows, strict=True)
    found = [(place, row) for place, row in pairs if place[0][0] == tenant]
    return sorted(found, key=lambda one: one[0])


VICTIM = st.lists(
    st.tuples(st.sampled_from("pq"), st.integers(0, 9), st.text("abé", max_size=20)), max_size=4
)
HOSTILE = st.lists(st.tuples(st.sampled_from("pqrstuv"), st.integers(0, 9), TEXTS), max_size=12)


@pytest.mark.parametrize("fold", FOLDS.values(), ids=FOLDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@settings(max_examples=12, deadline=None)
@given(batches=st.lists(st.tuples(VICTIM, HOSTILE, st.booleans()), max_size=15))
def test_a_hostile_tenants_growth_changes_no_row_of_another(fold, shape, batches):
    """While the other stays within a quarter of the table."""
    alone, both = _table(shape, fold), _table(shape, fold)
    for victim, hostile, last_first in batches:
        mine = [_event("victim", one) for one in victim if alone.bytes_used < QUIET_BYTES]
        if mine:
            assert _offer(alone, fold, mine) == []
        mixed = [*mine, *(_event("hostile", one) for one in hostile)]
        if last_first:
            mixed.sort(key=lambda event: event.tenant_id)
        refused = _offer(both, fold, mixed) if mixed else []
        assert {mixed[row].tenant_id for row in refused} <= {"hostile"}
        _check(both)
    assert _rows(both, "victim") == _rows(alone, "victim")


TEXTS_OF_A_PAGE = [f"{n:05}" + "x" * (10 * n) for n in range(100)]


def _long(shape, fold):
    """A table in which tenant "a" has used its share in states that it began; and the last text
    that page "a" took."""
    table = _table(shape, fold)
    refused = [
        _offer(table, fold, [_event("a", (page, 0, text)) for text in TEXTS_OF_A_PAGE])
        for page in "abcdefghijklmnopqrstuvwxyz"
    ]
    assert any(refused[1:])
    taken = [text for row, text in enumerate(TEXTS_OF_A_PAGE) if row not in refused[0]]
    return table, taken[-1]


@pytest.mark.parametrize("name", ["distinct", "top", "ends", "quantiles"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_existing_states_still_count_for_a_tenant_at_its_share(shape, name):
    """Its counters advance, the next tenant finds room, and closed windows free the share."""
    fold = FOLDS[name]
    table, taken = _long(shape, fold)
    assert _offer(table, fold, [_event("a", ("a", 0, taken))]) == []
    assert _offer(table, fold, [_event("b", ("a", 0, "a"))]) == []
    table.advance(1 << 40)
    assert _offer(table, fold, [_event("a", ("a", 1 << 41, "new"))]) == []


def test_a_refusal_names_windows_figures_setting_and_next_step():
    """The operator reads it in the dead letter."""
    fold = FOLDS["ends"]
    table, _ = _long(SHAPES[0], fold)
    batch = _batch(fold, [_event("a", ("new", 0, "x" * 20_000))])
    check = table.share_check(batch, np.arange(1), sure=True)
    assert re.search(
        r"tenant 'a' .* windows 'windows' .*: \d+ of 60000 bytes \(DIA_MAX_TABLE_BYTES\) .* add \d+. Replay",
        check.refusal(0, "a"),
    )


VARYING = [
    *((one, FieldType(str)) for fold in FOLDS.values() for one in fold.values() if "q" not in fold),
    (TopK("text", k=1, capacity=3), FieldType(int)),
    (Distinct("text", error=0.2), FieldType(float)),
    (Quantiles("text"), FieldType(float)),
]
VALUES = {
    str: TEXTS,
    int: st.none() | st.integers(-5, 5) | st.integers(-(1 << 62), 1 << 62),
    float: st.none() | st.floats(-1e6, 1e6),
}


def _additions(records, kind):
    events = [SimpleNamespace(text=value) for _, _, value in records]
    columns = [np.array([one[at] for one in records], np.int64) for at in range(2)]
    fields = values_of(events, {"text": FieldType(kind.kind, optional=True)}, {})
    return Additions(columns[0], columns[1], np.arange(len(records)), fields)


@pytest.mark.parametrize("case", VARYING, ids=lambda case: f"{case[0].word} {case[1]}")
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_batch_grows_by_at_most_the_sum_of_its_records(case, data):
    """For any subset of records, in one batch or several; merged states have at most the sum of
    both sizes."""
    aggregate, kind = case
    records = data.draw(
        st.lists(
            st.tuples(st.integers(0, 2), st.integers(0, 5), VALUES[kind.kind]),
            min_size=2, max_size=40,
        )
    )  # fmt: skip
    states = WindowStates({"one": aggregate}, {"text": kind})
    slots = states.begin(3)
    cut = data.draw(st.integers(0, len(records)))
    for begin, end in pairwise([0, cut, len(records)]):
        if begin == end:
            continue
        some = _additions(records[begin:end], kind)
        before, added = states.sizes(slots), states.adds(some)
        assert added.sum() <= states.adds_at_most(end - begin, some.fields)
        chosen = np.array(
            data.draw(st.lists(st.sampled_from(range(end - begin)), unique=True)), np.int64
        )
        chosen.sort()
        states.fold(some.take(chosen))
        for slot, (less, more) in enumerate(zip(before, states.sizes(slots), strict=True)):
            assert more - less <= added[chosen[some.slots[chosen] == slot]].sum()
    first, second, _ = states.sizes(slots)
    states.merge(slots[:1], slots[1:2])
    assert states.sizes(slots[:1])[0] <= first + second
    again = WindowStates({"one": aggregate}, {"text": kind})
    assert again.sizes(again.restore(states.written(slots))) == states.sizes(slots)


def test_a_distinct_that_becomes_registers_does_not_jump_in_size():
    """A hostile tenant could bring all its states just below the limit and make them jump in one
    batch."""
    aggregate = Distinct("text", error=0.005)
    states = WindowStates({"one": aggregate}, {"text": FieldType(str)})
    slots = states.begin(1)
    sizes = []
    for n in range(258):
        states.fold(_additions([(0, 0, str(n))], FieldType(str)))
        sizes += states.sizes(slots)
    assert max(after - before for before, after in pairwise(sizes)) == aggregate.value_bytes
    assert sizes[-1] == 1 << aggregate.precision
