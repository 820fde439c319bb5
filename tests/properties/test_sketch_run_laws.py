"""Runs of sketch buckets against a counter that keeps everything."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streams.core.kernels import compiled
from streams.core.kernels.runs import find_ranges, merge_runs
from streams.engine.windows.minutes.sketch_runs import (
    SketchRuns,
    codes_of,
    combine,
    merged,
    pack,
    ragged,
    serials_of,
)

serials = st.integers(0, 12)
codes = st.one_of(st.integers(-32768, 32767), st.sampled_from([-32768, -1, 0, 1, 32767]))
values = st.lists(st.tuples(serials, codes), max_size=12)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), values),
        st.tuples(st.just("seal"), st.none()),
        st.tuples(st.just("die"), serials),
        st.tuples(st.just("purge"), st.none()),
    ),
    max_size=30,
)


def _pack(pairs):
    return pack(
        np.array([serial for serial, _ in pairs], np.int64),
        np.array([code for _, code in pairs], np.int16),
    )


@given(values)
def test_a_bucket_key_is_its_serial_and_code(pairs):
    """For the smallest and largest codes, too, and ordered by serial, then code."""
    buckets = _pack(pairs)
    both = zip(serials_of(buckets).tolist(), codes_of(buckets).tolist(), strict=True)
    assert list(both) == pairs
    assert [pairs[i] for i in np.argsort(buckets, kind="stable")] == sorted(pairs)


counted = st.dictionaries(st.integers(-4, 9), st.integers(1, 1 << 40), max_size=9)


def _run(found):
    return np.array(sorted(found), np.int64), np.array(
        [found[at] for at in sorted(found)], np.int64
    )


@given(counted, counted)
def test_merged_runs_have_every_count_once(first, second):
    """In machine code, interpreted, and by columns: changelogs have the same bytes with each."""
    a, b = _run(first), _run(second)
    expected = _run(Counter(first) + Counter(second))
    found = [merged(a, b), combine(*map(np.concatenate, zip(a, b, strict=True)))]
    for loop in (merge_runs, compiled.twin(merge_runs)):
        keys, counts = (np.zeros(len(first) + len(second), np.int64) for _ in range(2))
        used = loop(*a, *b, keys, counts)
        found.append((keys[:used], counts[:used]))
    for run in found:
        assert [column.tolist() for column in run] == [column.tolist() for column in expected]


@given(steps)
def test_gathered_buckets_equal_the_sealed_ones(plan):
    """After any merges of runs, a live window has all its values once."""
    alive = np.ones(13, np.bool_)
    runs = SketchRuns(lambda wanted: alive[wanted])
    open_values, sealed = Counter(), Counter()
    for kind, what in plan:
        if kind == "append" and what:
            living = [pair for pair in what if alive[pair[0]]]
            runs.append(_pack(living))
            open_values.update(living)
        elif kind == "seal":
            buckets, counts = runs.seal()
            both = zip(serials_of(buckets).tolist(), codes_of(buckets).tolist(), strict=True)
            assert dict(zip(both, counts.tolist(), strict=True)) == dict(open_values)
            sealed += open_values
            open_values = Counter()
        elif kind == "die":
            alive[what] = False
        elif kind == "purge":
            runs.purge()
    wanted = np.flatnonzero(alive)
    buckets, counts = runs.gather(wanted)
    assert (np.diff(buckets) > 0).all()
    both = zip(serials_of(buckets).tolist(), codes_of(buckets).tolist(), strict=True)
    found = dict(zip(both, counts.tolist(), strict=True))
    assert found == {pair: count for pair, count in sealed.items() if alive[pair[0]]}


@given(st.lists(st.integers(0, 400), unique=True), st.lists(st.integers(0, 101)))
def test_ranges_are_found_at_any_distance(made, wanted):
    """Windows that change are near each other in a run or far apart."""
    keys, serials = np.sort(np.array(made, np.int64) << 14), np.sort(np.array(wanted, np.int64))
    low, high = serials << 16, (serials + 1) << 16
    start = np.searchsorted(keys, low)
    expected = [start.tolist(), (np.searchsorted(keys, high) - start).tolist()]
    for loop in (find_ranges, compiled.twin(find_ranges)):
        found = np.zeros((2, len(wanted)), np.int64)
        loop(keys, low, high, *found)
        assert found.tolist() == expected


@given(st.lists(values, max_size=10))
def test_purging_removes_all_evicted_windows(batches):
    """Otherwise the sketches of evicted windows stay in memory."""
    runs = SketchRuns(lambda wanted: np.zeros(len(wanted), np.bool_))
    for batch in batches:
        runs.append(_pack(batch))
        runs.seal()
    runs.purge()
    assert len(runs) == 0
    assert runs.bytes_used == 0


@given(st.lists(st.lists(serials, min_size=1, max_size=5), max_size=64))
def test_runs_stay_few(batches):
    """A look-up costs one search per run: their number may only grow logarithmically."""
    runs = SketchRuns(lambda wanted: np.ones(len(wanted), np.bool_))
    for number, batch in enumerate(batches):
        runs.append(_pack([(serial, number) for serial in batch]))
        runs.seal()
    assert len(runs._runs) <= 2 + np.log2(len(runs) + 1)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 6)), max_size=10))
def test_ragged_is_one_range_per_row(rows):
    """For rows of every length, zero included."""
    start = np.array([first for first, _ in rows], np.intp)
    length = np.array([count for _, count in rows], np.intp)
    expected = [first + i for first, count in rows for i in range(count)]
    assert ragged(start, length).tolist() == expected
