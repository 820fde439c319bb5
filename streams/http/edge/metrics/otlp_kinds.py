"""What is common to metrics of OTLP in JSON and in Protobuf."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from streams.http.edge.metrics.histogram_values import (
    COUNT_MAX,
    UnfitHistogram,
    explicit_buckets,
    exponential_buckets,
    whole_counts,
)
from streams.http.edge.metrics.point_events import UNFIT_HISTOGRAM, UNSUPPORTED_POINT
from streams.http.edge.metrics.points import Buckets, HistogramPoint, RefusedPoints
from streams.http.edge.metrics.series import NamedSeries

DELTA: Final = 1
CUMULATIVE: Final = 2
"""AggregationTemporality"""
NO_RECORDED_VALUE: Final = 1
"""DataPointFlags"""
CUMULATIVE_HISTOGRAM: Final = "cumulative_histogram"
STEP_POINTS: Final = 1000
"""Points of one step of a reading."""
TIME_MAX_NS: Final = (1 << 64) - 1
SCALE_MIN: Final = -10
SCALE_MAX: Final = 20
"""Beyond, no two doubles, or all of them, are in one bucket."""
_SUFFIXES: Final = {DELTA: "", CUMULATIVE: ":total"}
_NO_BUCKETS: Final = Buckets(
    np.empty(0, np.int64), np.empty(0, np.float64), np.empty(0, np.float64), by_factor=False
)


def sum_suffix(temporality: int) -> str | None:
    """What the name of a sum's series ends with; None: a sum without a temporality. Increases and
    running totals of one metric are two series: no window mixes them."""
    return _SUFFIXES.get(temporality)


def sum_kind(*, monotonic: bool) -> str:
    """Of an id: one metric that only rises and one that may fall are two."""
    return "sum" if monotonic else "up_down_sum"


def unsupported(name: str, what: str, count: int) -> RefusedPoints:
    return RefusedPoints(count, UNSUPPORTED_POINT, f"{name!r:.80} is {what}")


def cumulative(name: str, count: int) -> RefusedPoints:
    return RefusedPoints(
        count,
        CUMULATIVE_HISTOGRAM,
        f"{name!r:.80} counts from the start of its process: set "
        "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE=delta at the sender",
    )


def histogram(
    series: NamedSeries,
    period_ns: tuple[int, int],
    count: int,
    ends: tuple[float | None, float | None, float | None],
    buckets: Callable[[], Buckets],
) -> HistogramPoint | RefusedPoints:
    """``period_ns``: its start and end. ``ends``: sum, minimum and maximum, as far as they are
    known."""
    total, low, high = ends
    if not 0 <= count <= COUNT_MAX:
        return RefusedPoints(1, UNFIT_HISTOGRAM, f"{series.metric!r:.80} has {count} observations")
    try:
        return HistogramPoint(series, *period_ns, count, total, low, high, buckets())
    except UnfitHistogram as error:
        return RefusedPoints(1, UNFIT_HISTOGRAM, f"{series.metric!r:.80}: {error}")


def explicit(
    counts: Sequence[int], bounds: Sequence[float], low: float | None, high: float | None
) -> Buckets:
    """Raises `UnfitHistogram`."""
    if not bounds and len(counts) <= 1:
        return _NO_BUCKETS
    return explicit_buckets(np.array(bounds, np.float64), whole_counts(counts), low, high)


def exponential(
    scale: int,
    zero_count: int,
    positive: tuple[int, Sequence[int]],
    negative: tuple[int, Sequence[int]],
) -> Buckets:
    """Of each sign: the offset, and the counts. Raises `UnfitHistogram`."""
    if not SCALE_MIN <= scale <= SCALE_MAX:
        raise UnfitHistogram(f"its scale {scale} is not {SCALE_MIN} to {SCALE_MAX}")
    zeros = whole_counts([zero_count])
    above = positive[0], whole_counts(positive[1])
    below = negative[0], whole_counts(negative[1])
    return exponential_buckets(scale, int(zeros[0]), above, below)
