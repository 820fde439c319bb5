"""Steps of a series, with windows on one shard or several, have the figures of their values."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.connect.sinks.percentiles import QUANTILES
from streams.connect.sinks.series import plain, steps
from streams.connect.sinks.series_merge import joined
from streams.engine.windows.minutes.sketch_code import encode

VALUES = st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=1, max_size=40)


def row(step, values, *, at=0):
    """A shard's answer for one step; ``values`` are (value, time) in turn."""
    found = np.array(values)
    encoded = encode(found)
    codes = Counter(encoded.tolist())
    mean = float(found.mean())
    m2 = float(((found - mean) ** 2).sum())
    keys = sorted(codes)
    shown = (step, len(found), mean, m2, float(found.min()), float(found.max()), values[-1])
    ranked = np.quantile(encoded, QUANTILES, method="inverted_cdf").tolist()
    return (*shown, ranked, keys, [codes[key] for key in keys], (at + len(values), 1))


@given(st.lists(VALUES, min_size=1, max_size=3))
def test_a_step_has_the_figures_of_all_values(parts):
    """Counts and sums are exact, percentiles within a sketch's error."""
    values = [value for part in parts for value in part]
    (found,) = joined([[row(60, part, at=100 * n)] for n, part in enumerate(parts)])
    ((step, n, mean, sd, low, high, last, *percentiles),) = steps(plain([found]))
    size = 1 + max(map(abs, values))
    assert (step, n, low, high, last) == (60, len(values), min(values), max(values), parts[-1][-1])
    assert mean == pytest.approx(math.fsum(values) / n, abs=1e-9 * size)
    assert sd == pytest.approx(float(np.std(values)), abs=1e-6 * size)
    assert sum(found[-2]) == n
    for share, percentile in zip(QUANTILES, percentiles, strict=True):
        true = float(np.quantile(values, share, method="inverted_cdf"))
        # Quantiles of three or four values come from moments, which lose digits beside large ones.
        assert percentile == pytest.approx(true, rel=0.0101, abs=1e-4 * size if n < 5 else 1e-8)


@given(st.lists(st.integers(0, 20), unique=True), st.lists(st.integers(0, 20), unique=True))
def test_a_step_of_one_shard_is_passed_through(left, right):
    """A day is on one shard: its answer needs no second computation."""
    parts = [[row(60 * step, [float(step)]) for step in sorted(steps)] for steps in (left, right)]
    found = joined(parts)
    assert [one[0] for one in found] == sorted({60 * step for step in (*left, *right)})
    alone = [
        one for rows in parts for one in rows if (one[0] // 60 in left) != (one[0] // 60 in right)
    ]
    assert all(one in found for one in alone)
