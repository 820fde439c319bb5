"""Estimates from a sample, each with its 95 % confidence interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_Z95 = 1.959963984540054


def mean(values: NDArray[np.float64]) -> dict[str, Any]:
    """Mean and standard deviation; the interval of the mean by the central limit theorem."""
    centre, n = float(values.mean()), len(values)
    sd = float(values.std(ddof=1)) if n > 1 else 0.0
    half = _Z95 * sd / math.sqrt(n)
    return {"mean": centre, "sd": sd, "mean_low": centre - half, "mean_high": centre + half}


def quantiles(ascending: NDArray[np.float64], levels: Sequence[float]) -> list[dict[str, float]]:
    """Each quantile is the order statistic at ceil(n p); its interval lies between the order
    statistics whose ranks bound a binomial count of mean n p (normal approximation)."""
    n = len(ascending)
    found = []
    for level in levels:
        spread = _Z95 * math.sqrt(n * level * (1 - level))
        ranks = (
            math.ceil(n * level),
            math.floor(n * level - spread),
            math.ceil(n * level + spread),
        )
        at, low, high = (float(ascending[min(max(rank, 1), n) - 1]) for rank in ranks)
        found.append({"level": level, "value": at, "low": low, "high": high})
    return found


def share(hits: int, n: int) -> dict[str, float]:
    """A probability from a count of hits; Wilson's score interval."""
    p, z2 = hits / n, _Z95 * _Z95
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z95 * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return {"probability": p, "low": max(0.0, centre - half), "high": min(1.0, centre + half)}
