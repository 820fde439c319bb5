"""Window aggregators: a batch equals its records one by one, states merge, encoding is lossless,
and estimates stay within their stated error."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from copy import deepcopy

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.core.errors import UsageError
from streams.engine.aggregates.aggregate import Additions, FieldType, FieldValues
from streams.engine.aggregates.distinct import Distinct
from streams.engine.aggregates.ends import First, Last
from streams.engine.aggregates.extremes import Max, Min
from streams.engine.aggregates.moments import Mean, Variance
from streams.engine.aggregates.quantiles import Quantiles
from streams.engine.aggregates.sums import Count, Sum
from streams.engine.aggregates.top_k import TopK

CAPACITY = 8
FLOATS = st.floats(-1e12, 1e12, allow_subnormal=False)
WHOLE = st.integers(-(1 << 63), (1 << 63) - 1)
TEXT = st.text(alphabet="abcdef", max_size=2)
VALUES = {float: FLOATS, int: WHOLE, str: TEXT, bool: st.booleans()}
ALL = [
    (aggregate, kind)
    for aggregate in (
        Count(), Sum("v"), Mean("v"), Variance("v"), Variance("v", sample=True), Min("v"), Max("v"),
        First("v"), Last("v"), Quantiles("v"), Distinct("v", error=0.2), TopK("v", k=2, capacity=3),
    )
    for kind in ((float, int, bool, str) if not aggregate.fields else sorted(aggregate.takes, key=str))
]  # fmt: skip
EXACT = [(aggregate, kind) for aggregate, kind in ALL if not isinstance(aggregate, TopK)]


def _named(case):
    return f"{case[0].word}-{case[0].options}-{case[1].__name__}"


def _types(kind):
    return {"v": FieldType(kind, optional=True)}


def _states(aggregate, kind):
    states = aggregate.states(_types(kind))
    states.resize(CAPACITY)
    states.begin(np.arange(CAPACITY))
    return states


def _additions(records, kind):
    """``records``: (slot, event time, offset, value or None)."""
    plain = {float: 0.0, int: 0, bool: False, str: ""}[kind]
    values = [plain if value is None else value for *_, value in records]
    if kind is not str:
        values = np.array(values, np.float64 if kind is float else np.int64)
    present = np.array([value is not None for *_, value in records], np.bool_)
    columns = [np.array([record[at] for record in records], np.int64) for at in range(3)]
    return Additions(*columns, {"v": FieldValues(values, present)})


@st.composite
def _records(draw, kind, slots=3, most=30):
    found = draw(
        st.lists(
            st.tuples(st.integers(0, slots - 1), st.integers(0, 5), st.none() | VALUES[kind]),
            max_size=most,
        )
    )
    return [(slot, ms, offset, value) for offset, (slot, ms, value) in enumerate(found)]


def _all(states):
    return deepcopy(states.written(np.arange(CAPACITY))), [
        *map(list, states.rows(np.arange(CAPACITY)))
    ]


@pytest.mark.parametrize("case", ALL, ids=_named)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_a_batch_gives_the_state_of_its_records_one_by_one(case, data):
    """Bit for bit: a restart cuts the log into other batches and must give the same rows."""
    aggregate, kind = case
    records = data.draw(_records(kind))
    at_once, singly = _states(aggregate, kind), _states(aggregate, kind)
    at_once.fold(_additions(records, kind))
    for record in records:
        singly.fold(_additions([record], kind))
    assert _all(at_once) == _all(singly)


@pytest.mark.parametrize("case", ALL, ids=_named)
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_a_decoded_state_equals_the_encoded_one(case, data):
    """Through MessagePack, as in a changelog, and into other slots, with equal rows."""
    aggregate, kind = case
    states, restored = _states(aggregate, kind), _states(aggregate, kind)
    states.fold(_additions(data.draw(_records(kind)), kind))
    slots = np.arange(3)
    written = msgspec.msgpack.decode(msgspec.msgpack.encode(states.written(slots)))
    restored.restore(slots + 4, written)
    assert restored.written(slots + 4) == states.written(slots)
    assert restored.rows(slots + 4) == states.rows(slots)


def _close(one, other):
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-3)
    return one == other


@pytest.mark.parametrize("case", EXACT, ids=_named)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_merging_is_commutative_associative_and_equals_one_fold(case, data):
    """In any order and grouping, as for panes of hopping windows and sessions that join. Sums of
    floats are equal within rounding, everything else exactly."""
    aggregate, kind = case
    records = data.draw(_records(kind, slots=3))
    whole = _states(aggregate, kind)
    whole.fold(_additions([(0, *record[1:]) for record in records], kind))
    wanted = [column[0] for column in whole.rows(np.array([0]))]
    for order in ((0, 1, 2), (2, 1, 0), (1, 2, 0)):
        left, right = _states(aggregate, kind), _states(aggregate, kind)
        left.fold(_additions(records, kind))
        right.fold(_additions(records, kind))
        first, second, third = (np.array([one]) for one in order)
        left.merge(first, second)
        left.merge(first, third)
        right.merge(second, third)
        right.merge(first, second)
        for found in (left, right):
            row = [column[0] for column in found.rows(first)]
            assert all(map(_close, row, wanted)), (row, wanted)


@settings(max_examples=40, deadline=None)
@given(values=st.lists(WHOLE, min_size=1, max_size=20), cut=st.integers(0, 20))
def test_integers_are_added_exactly(values, cut):
    """Beyond 64 bits and through a merge: the column is the rounded sum, not a wrapped one."""
    states = _states(Sum("v"), int)
    for slot, part in enumerate((values[:cut], values[cut:])):
        states.fold(_additions([(slot, 0, n, value) for n, value in enumerate(part)], int))
    states.merge(np.array([0]), np.array([1]))
    assert states.rows(np.array([0])) == [[float(sum(values))]]


@settings(max_examples=40, deadline=None)
@given(
    values=st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=50),
    base=st.sampled_from([0.0, 1e6, -1e9]),
)
def test_mean_and_variance_equal_those_of_the_values(values, base):
    """Even if the mean is far larger than the deviation."""
    values = [base + value for value in values]
    for aggregate, exact in (
        (Mean("v"), statistics.fmean(values)),
        (Variance("v"), statistics.pvariance(values)),
        (Variance("v", sample=True), statistics.variance(values)),
    ):
        states = _states(aggregate, float)
        states.fold(_additions([(0, 0, n, value) for n, value in enumerate(values)], float))
        ((found,),) = states.rows(np.array([0]))
        assert math.isclose(found, exact, rel_tol=1e-5, abs_tol=1e-4)


@settings(max_examples=40, deadline=None)
@given(
    values=st.lists(
        st.floats(1e-11, 1e17) | st.floats(-1e17, -1e-11) | st.just(0.0), min_size=1, max_size=200
    ),
    error=st.sampled_from([0.001, 0.01, 0.1]),
)
def test_a_quantile_lies_within_the_relative_error(values, error):
    """Relative to the exact value of that rank, for negative values and zero, too."""
    ranks = (0.0, 0.25, 0.5, 0.99, 1.0)
    states = _states(Quantiles("v", at=ranks, error=error), float)
    states.fold(_additions([(0, 0, n, value) for n, value in enumerate(values)], float))
    for rank, (found,) in zip(ranks, states.rows(np.array([0])), strict=True):
        exact = sorted(values)[math.floor(rank * (len(values) - 1))]
        assert abs(found - exact) <= abs(exact) * error * (1 + 1e-9)


@pytest.mark.parametrize("count", [0, 1, 256, 257, 1000, 5000, 20_000, 100_000])
def test_a_distinct_count_stays_within_its_error(count):
    """Exact up to 256; above, within four standard errors."""
    error = 0.02
    states = _states(Distinct("v", error=error), int)
    records = [(0, 0, n, value) for n, value in enumerate([*range(count), *range(count // 2)])]
    states.fold(_additions(records, int))
    ((found,),) = states.rows(np.array([0]))
    assert found == count if count <= 256 else abs(found - count) <= 4 * error * count


@settings(max_examples=40, deadline=None)
@given(items=st.lists(TEXT, max_size=200), cut=st.integers(0, 200), capacity=st.integers(2, 12))
def test_counts_of_frequent_values_stay_within_their_bound(items, cut, capacity):
    """Also after a merge: never too low, at most n / capacity too high, and no frequent value is
    missing."""
    states = _states(TopK("v", k=2, capacity=capacity), str)
    for slot, part in enumerate((items[:cut], items[cut:])):
        states.fold(_additions([(slot, 0, n, item) for n, item in enumerate(part)], str))
    states.merge(np.array([0]), np.array([1]))
    exact = Counter(items)
    (held,) = states.written(np.array([0]))
    for item, (count, error) in held.items():
        assert count - error <= exact[item] <= count
        assert error <= len(items) / capacity
    assert {item for item, count in exact.items() if count > len(items) / capacity} <= {*held}
    if len(exact) <= capacity:
        assert {item: count for item, (count, _) in held.items()} == exact


@settings(max_examples=30, deadline=None)
@given(items=st.lists(st.tuples(st.integers(0, 1), TEXT), max_size=60))
def test_merging_frequent_values_is_commutative(items):
    """Two panes give one summary, in either order."""
    records = [(slot, 0, n, item) for n, (slot, item) in enumerate(items)]
    one, other = (_states(TopK("v", k=2, capacity=3), str) for _ in range(2))
    for states in (one, other):
        states.fold(_additions(records, str))
    one.merge(np.array([0]), np.array([1]))
    other.merge(np.array([1]), np.array([0]))
    assert one.written(np.array([0])) == other.written(np.array([1]))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Quantiles("v", error=0.0),
        lambda: Quantiles("v", at=()),
        lambda: Quantiles("v", at=(1.5,)),
        lambda: Quantiles("v", at=(0.5, 0.5)),
        lambda: Quantiles("v", at=(0.0, -0.0)),
        lambda: Quantiles("v", at=(0.123456781, 0.123456782)),
        lambda: Distinct("v", error=0.0),
        lambda: TopK("v", k=0),
        lambda: TopK("v", k=5, capacity=4),
        lambda: TopK("v", k=5, capacity=5000),
    ],
)
def test_invalid_options_are_refused(wrong):
    """At the declaration, where the user sees file and line."""
    with pytest.raises(UsageError):
        wrong()
