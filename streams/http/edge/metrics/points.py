"""Points of a request as its reader yields them, whatever their format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from streams.http.edge.metrics.series import NamedSeries

NS_PER_MS: Final = 1_000_000


class NumberPoints(NamedTuple):
    """Parallel columns. ``times`` are whole units, ``per_ms`` of them a millisecond, since the Unix
    epoch. A value of None, or NaN, says that there is none at that time; it may have no series.
    ``starts``, of increases alone: where the period of each begins, in the same units."""

    series: Sequence[NamedSeries | None]
    times: Sequence[int]
    values: Sequence[float | None]
    per_ms: int
    starts: Sequence[int] | None = None


class Buckets(NamedTuple):
    """Ascending buckets: ``counts[i]`` values between ``low[i]`` and ``high[i]``. ``by_factor``:
    values are spread by equal factors inside, else by equal steps. Shapes (n,)."""

    counts: NDArray[np.int64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    by_factor: bool


class HistogramPoint(NamedTuple):
    """The observations from ``start_ns`` to ``time_ns``."""

    series: NamedSeries
    start_ns: int
    time_ns: int
    observations: int
    sum: float | None
    low: float | None
    high: float | None
    buckets: Buckets


class RefusedPoints(NamedTuple):
    points: int
    code: str
    message: str


NOTHING: Final = NumberPoints((), (), (), 1)
ABSENT: Final = NumberPoints((None,), (0,), (None,), 1)

Points: TypeAlias = NumberPoints | HistogramPoint | RefusedPoints
Reading: TypeAlias = Iterator[Points]
"""In small steps, so that its reader may pause between two of them."""
