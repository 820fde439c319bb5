"""Freshness as a rolling time series: quantiles and error budget of the latest window.

Workers count, for each bound, the rows that became visible within it. A sample adds the increase of
every worker's counters since the last sample; a counter that fell was reset by a restart and counts
from zero. Quantiles are computed as Prometheus' histogram_quantile does, over the window's
increase."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any, Final, NamedTuple

from streams.core.clock import Clock
from streams.http.console.pipeline.workers import Sample

SAMPLE_S: Final = 10.0
WINDOW_S: Final = 3600.0
SLICES: Final = 12
WORKERS_MAX: Final = 1024
"""Workers with stored counters; beyond it, workers that are gone are dropped."""
OBJECTIVE: Final = 0.999
WITHIN_S: Final = 10.0
"""The freshness objective of ops/prometheus/rules/slo.yaml."""
_INFINITY: Final = float("inf")

Buckets = Mapping[float, float]
"""Upper bound in seconds to the cumulative rows within it; `inf` for all."""


class _Sample(NamedTuple):
    at_s: float
    counted: Buckets
    """all increases since the first sample"""


class FreshnessSeries:
    """One sample in `SAMPLE_S`, `WINDOW_S` of them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._samples: deque[_Sample] = deque()
        self._seen: dict[str, dict[float, float]] = {}
        self._counted: Counter[float] = Counter()

    def take(self, samples: Iterable[Sample]) -> None:
        """Add the workers' current counters (``freshness_seconds_bucket``) unless the last sample
        is recent."""
        now_s = self._clock.monotonic()
        if self._samples and now_s - self._samples[-1].at_s < SAMPLE_S:
            return
        by_worker: dict[str, dict[float, float]] = {}
        for worker, labels, value in samples:
            by_worker.setdefault(worker, {})[float(labels["le"])] = value
        for worker, counts in by_worker.items():
            before = self._seen.get(worker)
            if before is not None:
                reset = counts.get(_INFINITY, 0) < before.get(_INFINITY, 0)
                for bound, count in counts.items():
                    self._counted[bound] += count - (0 if reset else before.get(bound, 0))  # type: ignore[assignment]  # counts come as floats
            self._seen[worker] = counts
        if len(self._seen) > WORKERS_MAX:
            self._seen = {worker: self._seen[worker] for worker in by_worker}
        self._samples.append(_Sample(now_s, dict(self._counted)))
        # The last sample at or before the window's start is the baseline.
        while len(self._samples) > 1 and self._samples[1].at_s <= now_s - WINDOW_S:
            self._samples.popleft()

    def fields(self) -> dict[str, Any]:
        """``covered_s``: the observed part of `WINDOW_S`. Quantiles are None without visible rows;
        ``beyond``: the last bound stands for a greater one."""
        first, last = self._samples[0], self._samples[-1]
        buckets = _increase(first.counted, last.counted)
        shares = {"p50_s": 0.5, "p95_s": 0.95, "p99_s": 0.99}
        found = {name: quantile(buckets, share) for name, share in shares.items()}
        bounds = [bound for bound, _ in buckets if bound != _INFINITY]
        return {
            "window_s": WINDOW_S,
            "covered_s": min(WINDOW_S, last.at_s - first.at_s),
            **found,
            "p95_trend_s": self.trend(),
            "beyond": bool(bounds) and found["p99_s"] == bounds[-1],
        }

    def trend(self) -> list[float | None]:
        """p95 in seconds of each of `SLICES` equal parts of the window, oldest first; None for a part without
        visible rows, or before the first sample."""
        now_s, part_s = self._samples[-1].at_s, WINDOW_S / SLICES
        edges = [self._at(now_s - WINDOW_S + part_s * part) for part in range(SLICES + 1)]
        return [
            None if one is None or other is None else quantile(_increase(one, other), 0.95)
            for one, other in pairwise(edges)
        ]

    def _at(self, at_s: float) -> Buckets | None:
        """The counts of the last sample at or before it; of a part that began before the first sample, the first."""
        behind = bisect_right(self._samples, at_s, key=lambda one: one.at_s)
        if behind:
            return self._samples[behind - 1].counted
        began = self._samples[0].at_s < at_s + WINDOW_S / SLICES
        return self._samples[0].counted if began else None

    def budget(self) -> dict[str, Any] | None:
        """The error budget of the window; None without visible rows. ``left`` -1: twice as much
        failed as the objective allows."""
        first, last = self._samples[0], self._samples[-1]
        total = last.counted.get(_INFINITY, 0) - first.counted.get(_INFINITY, 0)
        good = last.counted.get(WITHIN_S, 0) - first.counted.get(WITHIN_S, 0)
        if not total:
            return None
        return {
            "objective": OBJECTIVE,
            "within_s": WITHIN_S,
            "window_s": WINDOW_S,
            "good": round(good),
            "total": round(total),
            "left": 1 - (1 - good / total) / (1 - OBJECTIVE),
        }


def _increase(before: Buckets, after: Buckets) -> list[tuple[float, float]]:
    return sorted((bound, count - before.get(bound, 0)) for bound, count in after.items())


def quantile(buckets: list[tuple[float, float]], share: float) -> float | None:
    """From cumulative counts by upper bound: linear within the bucket, the last finite bound beyond
    it, None without counts."""
    total = buckets[-1][1] if buckets else 0
    if not total:
        return None
    rank = share * total
    at = bisect_left([count for _, count in buckets], rank)
    bound, count = buckets[at]
    below, counted = buckets[at - 1] if at else (0.0, 0.0)
    if bound == _INFINITY:
        return below
    return below + (bound - below) * (rank - counted) / (count - counted)
