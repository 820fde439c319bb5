"""Percentiles of combined windows, from their moments and the codes of their sketch: in numpy for the rows
that a reader gets, in SQL for the views of people.

ClickHouse takes longer to plan the SQL than to read an hour of a series, so a reader gets the codes."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

QUANTILES: Final = (0.5, 0.95, 0.99)
PERCENTILE_ERROR: Final = 0.01
"""Of the relative error. Exact where the percentile is the smallest or largest value (the 99th of
fewer than 100 values, the 95th of fewer than 20), and for up to four values of like size."""

_SQL: Final = """multiIf(
        ceil(share * total) <= 1, low,
        ceil(share * total) >= total, high,
        code = 0, greatest(low, least(high, 0.)),
        total = 3 AND abs({third} AS middle) > 1e-12 * greatest(abs(low), abs(high)), middle,
        total = 4 AND abs({inner} AS second) > 3e-5 * (high - low), second,
        {bucket})"""
"""Moments lose digits relative to the range; the bucket is more exact near zero."""
_THIRD: Final = "greatest(low, least(high, 3 * joint - low - high))"
"""The middle of three values, from their sum."""
_INNER: Final = """greatest(low, least(high, joint + (((2 * joint - low - high) AS pair) - sqrt(if(
            ((2 * (spread - (low - joint) * (low - joint) - (high - joint) * (high - joint))
                - pair * pair) AS apart) > 1e-12 * (high - low) * (high - low), apart, 0))) / 2))"""
"""The second of four values. With u and v the deviations of the inner two from the mean, ``pair``
is u + v and ``apart`` is (u - v) squared, 2 (u2 + v2) - (u + v)2; below 1e-12 it is rounding."""
_BUCKET: Final = """greatest(low, least(high, 2
            * (greatest(low, least(sketch_value(code) / 1.01, sketch_value(code) / 0.99)) AS a)
            * (least(high, greatest(sketch_value(code) / 1.01, sketch_value(code) / 0.99)) AS b)
            / (a + b)))"""
"""The harmonic mean of the bucket's ends, cut to [low, high], minimises the relative error over the
bucket."""


def percentile_sql() -> str:
    """The percentile ``share`` of one combined row, from its ``code`` in the sketch."""
    return _SQL.format(third=_THIRD, inner=_INNER, bucket=_BUCKET)


def percentiles(
    total: ArrayLike,
    mean: ArrayLike,
    m2: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    codes: ArrayLike,
) -> Floats:
    """A column for each of `QUANTILES`, as `percentile_sql` of each row. ``codes``: those of the rank of
    each quantile, a row for each of the others' values. ``m2``: the sum of squared deviations from ``mean``."""
    n, m, squares, least, most = (
        np.asarray(each, np.float64)[:, None] for each in (total, mean, m2, low, high)
    )
    ranked = np.asarray(codes, np.int64).reshape(len(n), len(QUANTILES))
    rank = np.ceil(np.array(QUANTILES) * n)
    # Of rows that another rule decides, a value may be no number.
    with np.errstate(all="ignore"):
        middle = _within(least, most, 3 * m - least - most)
        second = _second(m, squares, least, most)
        return np.select(
            [
                rank <= 1,
                rank >= n,
                ranked == 0,
                (n == 3) & (abs(middle) > 1e-12 * np.maximum(abs(least), abs(most))),
                (n == 4) & (abs(second) > 3e-5 * (most - least)),
            ],
            [*np.broadcast_arrays(least, most, _within(least, most, 0.0), middle, second)],
            _of_bucket(least, most, ranked),
        )


def _second(mean: Floats, m2: Floats, low: Floats, high: Floats) -> Floats:
    pair = 2 * mean - low - high
    apart = 2 * (m2 - (low - mean) * (low - mean) - (high - mean) * (high - mean)) - pair * pair
    apart = np.where(apart > 1e-12 * (high - low) * (high - low), apart, 0.0)
    return _within(low, high, mean + (pair - np.sqrt(apart)) / 2)


def _of_bucket(low: Floats, high: Floats, codes: NDArray[np.int64]) -> Floats:
    value = np.sign(codes) * np.exp((abs(codes) - 1038) * 0.0200006667) * 1.01
    a = np.maximum(low, np.minimum(value / 1.01, value / 0.99))
    b = np.minimum(high, np.maximum(value / 1.01, value / 0.99))
    return _within(low, high, 2 * a * b / (a + b))


def _within(low: Floats, high: Floats, value: Floats | float) -> Floats:
    return np.maximum(low, np.minimum(high, value))
