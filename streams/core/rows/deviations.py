"""Means and squared deviations that stay exact where the mean is much larger than the deviation.

A sum of squares about zero rounds the deviation away: squares of 1e8 are 1e16, whose last digit is
2. So a window sums deviations from a *pivot*, its first value, and a row holds the mean and ``m2``,
the sum of squared deviations from the mean; the standard deviation is ``sqrt(m2 / n)``. Rows are
combined as in Chan, Golub and LeVeque (Updating Formulae and a Pairwise Algorithm for Computing
Sample Variances, 1979). A row's mean is a rounded double, so the combined deviation has a relative
error of 5e-4 where the mean is 1e12 times the deviation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

SQL: Final[Mapping[str, str]] = {
    "parts": "sum(n) AS total, groupArrayIf(n, n > 0) AS sizes, groupArrayIf(mean, n > 0) AS means, "
    "sum(m2) AS within",
    "mean": "means[1] + arraySum((k, m) -> k * (m - means[1]), sizes, means) / greatest(total, 1)",
    "m2": "within + arraySum((k, m) -> k * (m - joint) * (m - joint), sizes, means)",
}
"""``parts``: aggregates of the rows to combine, for an inner SELECT; ``mean`` and ``m2`` read them.
Empty rows (docs/protocols/rebuild.md) have no mean. ``mean``: of all values, 0 without a value.
``m2``: the sum of squared deviations of all values from ``joint``, the alias of ``mean``."""


def about_mean(
    n: NDArray[np.int64],
    pivot: NDArray[np.float64],
    d1: NDArray[np.float64],
    d2: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and m2 of each window, from its count and its sums of deviations and squared deviations
    from ``pivot``. The pivot is one of the values, so d2 is at most n times m2."""
    shift = d1 / n
    return pivot + shift, np.maximum(d2 - d1 * shift, 0.0)


def combined(
    n: NDArray[np.int64], mean: NDArray[np.float64], m2: NDArray[np.float64]
) -> tuple[float, float]:
    """Mean and m2 of all values of the rows; 0 without a value."""
    filled = n > 0
    n, mean, m2 = n[filled], mean[filled], m2[filled]
    if not len(n):
        return 0.0, 0.0
    joint = float(mean[0] + np.sum(n * (mean - mean[0])) / np.sum(n))
    return joint, float(np.sum(m2) + np.sum(n * (mean - joint) ** 2))
