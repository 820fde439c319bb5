"""Values that stand for the observations of a histogram (docs/protocols/otlp.md).

Of n observations min(n, `VALUES_MAX`) are made, at evenly spaced ranks, each within the bucket of
its rank."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streams.core.records.fields import VALUE_MAX
from streams.http.edge.metrics.points import Buckets, HistogramPoint

VALUES_MAX: Final = 100
"""Part of the ids of a point: another number would count a repeated request twice."""


BUCKETS_MAX: Final = 10_000
_EXPONENT_MAX: Final = 498
"""2^498 is the greatest power within `VALUE_MAX`."""
COUNT_MAX: Final = 1 << 48
"""Of one bucket: sums of `BUCKETS_MAX` stay whole."""


class UnfitHistogram(ValueError):  # noqa: N818 - what was found out
    """A histogram that contradicts itself, or has no finite values."""


def whole_counts(counts: Sequence[int]) -> NDArray[np.int64]:
    """Raises `UnfitHistogram` for too many, or too great ones."""
    if len(counts) > BUCKETS_MAX or (counts and not 0 <= min(counts) <= max(counts) <= COUNT_MAX):
        raise UnfitHistogram(f"it has more than {BUCKETS_MAX} buckets, or {COUNT_MAX} in one")
    return np.array(counts, np.int64)


def explicit_buckets(
    bounds: NDArray[np.float64],
    counts: NDArray[np.int64],
    low: float | None,
    high: float | None,
) -> Buckets:
    """``counts[i]`` values lie above ``bounds[i - 1]`` and up to ``bounds[i]``. Where a first or
    last bucket has no bound, ``low`` and ``high`` of all values end it, else 0 or its other bound.

    Raises `UnfitHistogram`."""
    if len(counts) != len(bounds) + 1 or not len(bounds):
        raise UnfitHistogram(f"{len(counts)} buckets have {len(bounds)} bounds")
    if not (np.abs(bounds) <= VALUE_MAX).all() or (np.diff(bounds) <= 0).any():
        raise UnfitHistogram(f"the bounds of buckets do not ascend, or are beyond {VALUE_MAX:g}")
    first, last = float(bounds[0]), float(bounds[-1])
    least = min(0.0, first) if low is None else min(low, first)
    most = last if high is None else max(high, last)
    return Buckets(counts, np.r_[least, bounds], np.r_[bounds, most], by_factor=False)


def exponential_buckets(
    scale: int,
    zero_count: int,
    positive: tuple[int, NDArray[np.int64]],
    negative: tuple[int, NDArray[np.int64]],
) -> Buckets:
    """Bucket i of ``positive`` (offset, counts) ends at 2^((offset + i + 1) / 2^scale), and is that
    much above the bucket before. Raises `UnfitHistogram` for values beyond doubles."""
    above_low, above_high = _powers(scale, *positive)
    below_low, below_high = _powers(scale, *negative)
    zero = np.zeros(1)
    return Buckets(
        np.concatenate([negative[1][::-1], [zero_count], positive[1]]).astype(np.int64),
        np.concatenate([-below_high[::-1], zero, above_low]),
        np.concatenate([-below_low[::-1], zero, above_high]),
        by_factor=True,
    )


def _powers(
    scale: int, offset: int, counts: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Bounds of buckets, those of empty ones cut to `VALUE_MAX`, small ones to its reciprocal: the
    sketch of a window takes them for 0."""
    index = np.arange(offset, offset + len(counts) + 1, dtype=np.float64)
    exponents = np.ldexp(index, -scale)
    used = np.flatnonzero(counts)
    if len(used) and exponents[used[-1] + 1] > _EXPONENT_MAX:
        raise UnfitHistogram(f"a bucket is beyond {VALUE_MAX:g}")
    bounds = np.exp2(np.clip(exponents, -_EXPONENT_MAX, _EXPONENT_MAX))
    return bounds[:-1], bounds[1:]


def values_of(point: HistogramPoint) -> list[float]:
    """Ascending. Raises `UnfitHistogram`."""
    buckets, count = point.buckets, point.observations
    known = [one for one in (point.sum, point.low, point.high) if one is not None]
    if not all(abs(one) <= VALUE_MAX for one in known):
        raise UnfitHistogram(f"its sum, minimum or maximum is not finite, or beyond {VALUE_MAX:g}")
    if point.low is not None and point.high is not None and point.low > point.high:
        raise UnfitHistogram("its minimum is above its maximum")
    if not count:
        return []
    if count == 1 and point.sum is not None:
        return [point.sum]
    if not len(buckets.counts):
        buckets = _one_bucket(point)
    upto = np.cumsum(buckets.counts)
    if int(upto[-1]) != count:
        raise UnfitHistogram(f"its count is {count}, its buckets hold {upto[-1]}")
    taken = min(count, VALUES_MAX)
    ranks = (np.arange(taken) + 0.5) * (count / taken)
    at = np.searchsorted(upto, ranks, side="right")
    inside = (ranks - (upto - buckets.counts)[at]) / buckets.counts[at]
    values = _between(buckets.low[at], buckets.high[at], inside, by_factor=buckets.by_factor)
    if point.low is not None:
        values = np.maximum(values, point.low)
        values[0] = point.low
    if point.high is not None:
        values = np.minimum(values, point.high)
        values[-1] = point.high
    found: list[float] = values.tolist()
    return found


def _one_bucket(point: HistogramPoint) -> Buckets:
    """Of a histogram without buckets: from the smallest to the greatest value, or the mean."""
    if point.sum is None and (point.low is None or point.high is None):
        raise UnfitHistogram("it has neither buckets nor a sum")
    mean = point.sum / point.observations if point.sum is not None else 0.0
    low = mean if point.low is None else point.low
    high = mean if point.high is None else point.high
    return Buckets(
        np.array([point.observations]), np.array([low]), np.array([high]), by_factor=False
    )


def _between(
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    part: NDArray[np.float64],
    *,
    by_factor: bool,
) -> NDArray[np.float64]:
    if not by_factor:
        return low + part * (high - low)
    # Bounds of one sign, or both 0: the bucket of zeros.
    magnitude = np.maximum(np.abs(low), np.finfo(np.float64).tiny)
    return low * (np.abs(high) / magnitude) ** part
