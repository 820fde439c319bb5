"""Standard deviations are right to nine digits, for any mean and any batching."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.core.rows.deviations import about_mean, combined
from streams.engine.windows.minutes.minute_windows import MinuteWindows, WindowPolicy
from tests.depth import cases

RATIO_MAX = 1e12
"""The largest supported ratio of mean to standard deviation."""


@st.composite
def samples(draw):
    """Batches of values whose mean is up to `RATIO_MAX` times their deviation."""
    mean = draw(st.sampled_from([0.0, 1.0, 1e3, 1e8, -1.7e9, 1e12, -1e12]))
    scale = draw(st.sampled_from([1.0, 10.0, 995.0]))
    seed = draw(st.integers(0, 2**32 - 1))
    size = draw(st.integers(2, 300))
    values = np.random.default_rng(seed).normal(mean, scale, size)
    if draw(st.booleans()):
        values[0] = draw(st.sampled_from([0.0, mean, -mean, mean + 40 * scale]))
    cuts = sorted(draw(st.lists(st.integers(0, size), max_size=4)))
    return values, [chunk for chunk in np.split(values, cuts) if len(chunk)]


def exact(values) -> tuple[float, float]:
    """Mean and m2 in rational arithmetic."""
    exactly = [Fraction(value) for value in values.tolist()]
    mean = sum(exactly) / len(exactly)
    return float(mean), float(sum((value - mean) ** 2 for value in exactly))


def assert_right(found, values, *, combined: bool = False) -> None:
    """Within nine digits. For combined rows, each mean was rounded to one ulp: then within that
    ulp's share of the standard deviation, 5e-4 at a ratio of `RATIO_MAX`."""
    mean, m2 = exact(values)
    ulp = float(np.spacing(np.abs(values).max()))
    rounding = len(values) * (4 * ulp) ** 2
    if combined:
        rounding += 4 * ulp * math.sqrt(len(values) * m2)
    assert abs(found[0] - mean) <= 4 * ulp
    assert abs(found[1] - m2) <= 1e-9 * m2 + rounding


def window_rows(chunks):
    """The row of one window, folded chunk by chunk."""
    windows = MinuteWindows(0, 0, 1, lambda t, m, x: np.zeros(len(t), np.int32), WindowPolicy())
    offset = 0
    for chunk in chunks:
        keys = windows.names.keys(["t"] * len(chunk), ["m"] * len(chunk), ["x"] * len(chunk))
        times = np.full(len(chunk), 60_000, np.int64)
        offsets = np.arange(offset, offset + len(chunk))
        windows.fold(keys, times, chunk, offsets, times)
        offset += len(chunk)
    windows.delta(1)
    [emission] = windows.take_emissions([10], early=True)
    [rows] = emission.rows
    return rows


@settings(max_examples=cases(200))
@given(samples())
def test_a_window_is_right_for_every_batching(sample):
    """Users compare the deviation with that of a notebook."""
    values, chunks = sample
    rows = window_rows(chunks)
    assert_right((float(rows.mean[0]), float(rows.m2[0])), values)
    assert rows.lo[0] <= rows.mean[0] <= rows.hi[0]


@settings(max_examples=cases(200))
@given(samples())
def test_combined_rows_equal_the_deviation_of_their_values(sample):
    """Hours, days and steps are computed from rows, not from values."""
    values, chunks = sample
    rows = [window_rows([chunk]) for chunk in chunks]
    n, mean, m2 = (np.array([getattr(r, name)[0] for r in rows]) for name in ("n", "mean", "m2"))
    assert_right(combined(n, mean, m2), values, combined=True)


def test_one_value_has_no_deviation():
    """Rounding must not produce one."""
    n, value = np.array([1]), np.array([0.1])
    mean, m2 = about_mean(n, value, np.zeros(1), np.zeros(1))
    assert (mean[0], m2[0]) == (0.1, 0.0)
