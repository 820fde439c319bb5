"""Values that stand for a histogram: as many as promised, in the buckets of their ranks."""

from __future__ import annotations

import bisect

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streams.http.edge.metrics.histogram_values import (
    VALUES_MAX,
    explicit_buckets,
    exponential_buckets,
    values_of,
    whole_counts,
)
from streams.http.edge.metrics.points import HistogramPoint
from streams.http.edge.metrics.series import NamedSeries

SERIES = NamedSeries('"tenant_id":"t","model_id":"m"', "latency", "", "00")
BOUNDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]
observed = st.lists(st.floats(0, 100), min_size=1, max_size=400)


def _explicit(values: list[float]) -> HistogramPoint:
    counts = [0] * (len(BOUNDS) + 1)
    for value in values:
        counts[bisect.bisect_left(BOUNDS, value)] += 1
    low, high = min(values), max(values)
    buckets = explicit_buckets(np.array(BOUNDS), whole_counts(counts), low, high)
    return HistogramPoint(SERIES, 0, 0, len(values), sum(values), low, high, buckets)


@given(observed)
def test_each_value_lies_in_the_bucket_of_the_observation_of_its_rank(values):
    """The promised error: at most a hundredth of the ranks, then within the bucket."""
    found = values_of(_explicit(values))
    ordered = sorted(values)
    assert len(found) == min(len(values), VALUES_MAX)
    assert found == sorted(found)
    assert (found[0], found[-1]) == (
        (ordered[0], ordered[-1]) if len(values) > 1 else (sum(values),) * 2
    )
    step = len(values) / len(found)
    for place, value in enumerate(found):
        first = ordered[int(place * step)]
        last = ordered[min(len(values) - 1, int((place + 1) * step))]
        assert _low(first) <= value <= _high(last)


def _low(value: float) -> float:
    at = bisect.bisect_left(BOUNDS, value)
    return BOUNDS[at - 1] if at else 0.0


def _high(value: float) -> float:
    at = bisect.bisect_left(BOUNDS, value)
    return BOUNDS[at] if at < len(BOUNDS) else 100.0


@given(
    st.integers(-3, 8),
    st.lists(
        st.floats(1e-6, 1e6) | st.floats(-1e6, -1e-6) | st.just(0.0), min_size=2, max_size=300
    ),
)
def test_values_of_an_exponential_histogram_are_as_near_as_its_base(scale, values):
    """The second half of the promised error: a bucket is 2^(2^-scale) - 1 wide, relatively."""
    base = 2 ** (2.0**-scale)
    sides = {sign: _side([sign * v for v in values if sign * v > 0], scale) for sign in (1, -1)}
    buckets = exponential_buckets(scale, values.count(0.0), sides[1], sides[-1])
    found = values_of(HistogramPoint(SERIES, 0, 0, len(values), None, None, None, buckets))
    ordered = sorted(values)
    assert len(found) == min(len(values), VALUES_MAX)
    step = len(values) / len(found)
    for place, value in enumerate(found):
        near = ordered[int(place * step) : int((place + 1) * step) + 1]
        assert any(_within(value, one, base) for one in near)


def _side(magnitudes: list[float], scale: int) -> tuple[int, np.ndarray]:
    if not magnitudes:
        return 0, np.empty(0, np.int64)
    at = [int(np.ceil(np.log2(one) * 2.0**scale)) - 1 for one in magnitudes]
    counts = np.zeros(max(at) - min(at) + 1, np.int64)
    for one in at:
        counts[one - min(at)] += 1
    return min(at), counts


def _within(value: float, observed: float, base: float) -> bool:
    if not observed:
        return value == 0
    return value * observed > 0 and 1 / base <= (value / observed) * (1 + 1e-9) <= base * (1 + 2e-9)
