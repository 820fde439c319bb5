"""Segments stay below the entry limit for any names, and are read back unchanged."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.engine.state.table import MAX_ENTRY_BYTES
from streams.engine.windows.minutes import window_segment
from streams.engine.windows.minutes.minute_windows import MinuteWindows, WindowPolicy


def _table() -> MinuteWindows:
    return MinuteWindows(0, 0, 1, lambda t, m, x: np.zeros(len(t), np.int32), WindowPolicy())


def _fold(table, names, ts_ms=0, value=1.0):
    count = len(names)
    keys = table.names.keys(*(list(column) for column in zip(*names, strict=True)))
    table.fold(
        keys,
        np.full(count, ts_ms, np.int64),
        np.full(count, value),
        np.arange(count, dtype=np.int64),
        np.zeros(count, np.int64),
    )


def _counts(table):
    """Values by series, from the rows that the table would send."""
    table.advance(10**12, 1000.0, 0)
    found = {}
    for emission in table.take_emissions([10**9], early=True):
        rows = emission.rows[0]
        for i in range(len(rows)):
            series = (
                rows.tenants[rows.tenant_code[i]],
                rows.models[rows.model_code[i]],
                rows.metrics[rows.metric_code[i]],
            )
            low, high = rows.sk_off[i], rows.sk_off[i + 1]
            found[series] = (int(rows.n[i]), int(rows.sk_n[low:high].sum()))
    return found


@pytest.mark.parametrize("unique", ["tenant", "all"])
def test_entries_stay_below_the_limit_with_many_long_names(unique):
    """Names of 128 four-byte characters: one more segment is cheap, one too large cannot be
    committed."""
    count = 6000
    long = ["🦊" * 118 + f"{number:010d}" for number in range(count)]
    short = long if unique == "all" else ["m"] * count
    names = list(zip(long, short, short, strict=True))
    table = _table()
    _fold(table, names)
    entries = table.delta(1)
    assert max(len(value) for _, value in entries) <= MAX_ENTRY_BYTES
    assert len(entries) > 1
    again = _table()
    again.load(entries)
    assert _counts(again) == dict.fromkeys(names, (1, 1))


def test_entries_stay_below_the_limit_with_wide_sketches():
    """A window whose values never share a bucket is larger than its scalars."""
    count, buckets = 300, 900
    table = _table()
    for number in range(buckets):
        _fold(table, [(f"t{i}", "m", "x") for i in range(count)], value=1.03**number)
    entries = table.delta(1)
    assert max(len(value) for _, value in entries) <= MAX_ENTRY_BYTES
    assert len(entries) > 1
    again = _table()
    again.load(entries)
    assert set(_counts(again).values()) == {(buckets, buckets)}


texts = st.text(min_size=1, max_size=12)
series = st.tuples(texts, texts, texts)


@given(st.lists(st.lists(series, min_size=1, max_size=12), min_size=1, max_size=5))
def test_any_segmentation_reads_back_the_same(batches):
    """The assignment of rows to segments matters only for the size limit."""
    whole, cut = _table(), _table()
    store = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(window_segment, "MAX_ENTRY_BYTES", 1500)
        for seq, names in enumerate(batches, start=1):
            _fold(whole, names)
            _fold(cut, names)
            store.update(cut.delta(seq))
            assert all(len(value) <= 1500 for value in store.values())
    whole.delta(1)
    again = _table()
    again.load(sorted(store.items()))
    assert _counts(again) == _counts(whole)
