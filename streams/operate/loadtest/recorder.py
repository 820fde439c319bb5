"""Latencies and failures of a load test, by flow and interval, in bounded memory.

A latency is counted in a bucket whose ends differ by 1 %, so a quantile is the upper end of its
bucket: at most 1 % above the true one, and never below it (Masson et al., DDSketch, 2019)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

GROWTH: Final = 1.01
LOWEST_S: Final = 1e-4
BUCKETS: Final = 1 + math.ceil(math.log(1e4 / LOWEST_S) / math.log(GROWTH))
"""up to 10,000 s"""
INTERVALS_MAX: Final = 120
CODES_MAX: Final = 30
"""codes of failures of a flow; what is beyond is counted as "other\""""
_LOG_GROWTH: Final = math.log(GROWTH)

Counts = NDArray[np.int64]


class RequestOutcome(NamedTuple):
    """Of one request. ``code`` "": answered as expected. ``events`` were accepted. ``given_up``: no
    answer came, so its time counts as a latency; that of a refusal does not."""

    code: str = ""
    events: int = 0
    given_up: bool = False


class FlowRecord:
    """``width_s``: of an interval, by the time at which a request was due; of ``served`` and
    ``served_events``, by the time of its answer: what is answered behind the test is in neither."""

    def __init__(self, duration_s: float) -> None:
        self.width_s = max(1.0, duration_s / INTERVALS_MAX)
        intervals = max(1, math.ceil(duration_s / self.width_s))
        self.latencies: NDArray[np.int32] = np.zeros((intervals, BUCKETS), np.int32)
        self.answered: Counts = np.zeros(intervals, np.int64)
        self.failed: Counts = np.zeros(intervals, np.int64)
        self.events: Counts = np.zeros(intervals, np.int64)
        self.served: Counts = np.zeros(intervals, np.int64)
        self.served_events: Counts = np.zeros(intervals, np.int64)
        self.given_up: Counts = np.zeros(BUCKETS, np.int64)
        """latencies of requests without an answer, which are in ``latencies``, too"""
        self.codes: Counter[str] = Counter()
        self.max_s = 0.0

    def add(self, due_s: float, latency_s: float, outcome: RequestOutcome) -> None:
        """``due_s`` is from the start; ``latency_s`` from then to the last byte, or to the giving up."""
        at = min(len(self.answered) - 1, int(due_s / self.width_s))
        if outcome.code:
            self.failed[at] += 1
            known = outcome.code in self.codes or len(self.codes) < CODES_MAX
            self.codes[outcome.code if known else "other"] += 1
        else:
            self.answered[at] += 1
        self.events[at] += outcome.events
        served_at = int((due_s + latency_s) / self.width_s)
        if served_at < len(self.served):
            self.served[served_at] += not outcome.code
            self.served_events[served_at] += outcome.events
        if not outcome.code or outcome.given_up:
            bucket = _bucket(latency_s)
            self.latencies[at, bucket] += 1
            self.given_up[bucket] += outcome.given_up
            self.max_s = max(self.max_s, latency_s)

    @property
    def requests(self) -> int:
        return int(self.answered.sum() + self.failed.sum())

    def quantile_s(self, share: float) -> float | None:
        """None without latencies."""
        return quantile_s(self.latencies.sum(axis=0), share, self.max_s)

    def answered_within_s(self, share: float, *, refusals: bool) -> float | None:
        """The latency within which ``share`` of the requests are answered as expected; None where
        fewer are, however soon the others were given up. ``refusals``: of those that were refused, too."""
        latencies = self.latencies.sum(axis=0)
        total = self.requests if refusals else int(latencies.sum())
        return _at_rank(latencies - self.given_up, _rank(share, total), self.max_s)

    def per_s(self, counts: Counts, from_s: float, until_s: float) -> float | None:
        """Of ``counts`` of the whole intervals in that part of the test; None without one."""
        first, last = math.ceil(from_s / self.width_s), int(until_s / self.width_s)
        if last <= first:
            return None
        return float(counts[first:last].sum()) / ((last - first) * self.width_s)

    def by_interval_s(self, share: float) -> list[float | None]:
        return [quantile_s(counts, share, self.max_s) for counts in self.latencies]


def together(records: Iterable[FlowRecord], duration_s: float) -> FlowRecord:
    """All flows of a test of ``duration_s``."""
    found = FlowRecord(duration_s)
    for one in records:
        found.latencies += one.latencies
        found.answered += one.answered
        found.failed += one.failed
        found.events += one.events
        found.served += one.served
        found.served_events += one.served_events
        found.given_up += one.given_up
        found.codes += one.codes
        found.max_s = max(found.max_s, one.max_s)
    return found


def quantile_s(counts: NDArray[np.integer[Any]], share: float, max_s: float) -> float | None:
    """The upper end of the bucket of the smallest latency that at least ``share`` of all do not
    exceed; at most ``max_s``."""
    return _at_rank(counts, _rank(share, int(counts.sum())), max_s)


def _rank(share: float, total: int) -> int:
    return max(1, math.ceil(share * total))


def _at_rank(counts: NDArray[np.integer[Any]], rank: int, max_s: float) -> float | None:
    """None where there are fewer latencies."""
    cumulated = np.cumsum(counts)
    if rank > cumulated[-1]:
        return None
    at = int(np.searchsorted(cumulated, rank))
    return min(max_s, LOWEST_S * GROWTH**at) if at < BUCKETS - 1 else max_s


def _bucket(latency_s: float) -> int:
    """Bucket k holds latencies up to ``LOWEST_S * GROWTH**k``."""
    if latency_s <= LOWEST_S:
        return 0
    # a latency on an edge may round upwards, which is the safe side
    return min(BUCKETS - 1, math.ceil(math.log(latency_s / LOWEST_S) / _LOG_GROWTH))
