"""Freshness figures cover the last hour only, and interpolate within buckets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.clock import VirtualClock
from streams.http.console.pipeline.freshness import SLICES, WINDOW_S, FreshnessSeries, quantile
from streams.http.console.pipeline.workers import Sample

BOUNDS = (1.0, 10.0, 60.0, float("inf"))


class Counters:
    """The cumulative counters of one worker."""

    def __init__(self, worker: str) -> None:
        self.worker = worker
        self.delays: list[float] = []

    def samples(self) -> list[Sample]:
        return [
            Sample(self.worker, {"le": str(le)}, sum(one <= le for one in self.delays))
            for le in BOUNDS
        ]


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def series(clock) -> FreshnessSeries:
    return FreshnessSeries(clock)


async def _take(series, clock, *workers, after_s=10.0):
    await clock.advance(after_s)
    series.take([sample for worker in workers for sample in worker.samples()])


async def test_earlier_counts_are_excluded(series, clock):
    """Otherwise last week's backlog would show for the life of the process."""
    worker = Counters("0")
    worker.delays = [50.0] * 1000
    await _take(series, clock, worker)
    assert series.fields()["p95_s"] is None
    assert series.budget() is None
    worker.delays += [0.5] * 100
    await _take(series, clock, worker)
    assert series.fields()["p95_s"] <= 1.0
    assert series.budget()["left"] == 1.0
    assert (series.budget()["good"], series.budget()["total"]) == (100, 100)


async def test_the_trend_shows_when_rows_were_late(series, clock):
    """ "Since when?" is the question that one figure of an hour leaves open."""
    worker, part_s = Counters("0"), WINDOW_S / SLICES
    await _take(series, clock, worker)
    assert series.trend() == [None] * SLICES
    for delay_s in (50.0, 0.5):
        worker.delays += [delay_s] * 100
        await _take(series, clock, worker, after_s=part_s)
    early, late, good = series.trend()[-3:]
    assert early is None
    assert 10.0 < late <= 60.0
    assert 0.0 < good <= 1.0
    await _take(series, clock, worker, after_s=part_s)
    assert series.trend()[-1] is None
    assert series.trend()[-3:-1] == [late, good]


async def test_a_bad_minute_leaves_the_figures_an_hour_later(series, clock):
    """An error budget of -100 % until the worker restarts would be ignored."""
    worker = Counters("0")
    await _take(series, clock, worker)
    worker.delays += [50.0] * 100
    await _take(series, clock, worker)
    assert series.fields()["p95_s"] > 10.0
    assert series.budget()["left"] == pytest.approx(1 - 1000.0)
    for _ in range(round(WINDOW_S / 10)):
        worker.delays += [0.5]
        await _take(series, clock, worker)
    assert series.fields()["p95_s"] <= 1.0
    assert series.budget()["left"] == 1.0
    assert series.fields()["covered_s"] == WINDOW_S


async def test_a_restart_of_a_worker_keeps_the_counts_right(series, clock):
    """Its counters begin at 0 again, which is not a negative number of rows."""
    steady, restarted = Counters("0"), Counters("1")
    await _take(series, clock, steady, restarted)
    steady.delays, restarted.delays = [0.5] * 10, [0.5] * 30
    await _take(series, clock, steady, restarted)
    restarted.delays = [0.5] * 5
    await _take(series, clock, steady, restarted)
    assert series.budget()["total"] == 45


async def test_a_worker_with_one_lost_reading_counts_again_afterwards(series, clock):
    """One lost reading must not add the counts of the worker's whole life."""
    worker = Counters("0")
    worker.delays = [0.5] * 10
    await _take(series, clock, worker)
    await _take(series, clock)
    worker.delays += [0.5] * 3
    await _take(series, clock, worker)
    assert series.budget()["total"] == 3


def test_a_quantile_lies_inside_its_bucket():
    """An upper bound of 60 s for a true 12 s would be five times too much."""
    assert quantile([(10.0, 0.0), (60.0, 100.0), (float("inf"), 100.0)], 0.5) == 35.0
    assert quantile([], 0.5) is None
    assert quantile([(10.0, 0.0), (float("inf"), 4.0)], 0.5) == 10.0


@given(
    st.lists(st.floats(0.001, 59.0), min_size=1, max_size=200), st.sampled_from([0.5, 0.95, 0.99])
)
def test_a_quantile_is_in_the_same_bucket_as_the_true_one(delays, share):
    """The error is therefore bounded by the width of a bucket."""
    buckets = [(le, float(sum(one <= le for one in delays))) for le in BOUNDS]
    rank = max(0, -int(-share * len(delays) // 1) - 1)
    true = sorted(delays)[rank]
    upper = next(le for le in BOUNDS if true <= le)
    lower = max((le for le in BOUNDS if le < true), default=0.0)
    assert lower <= quantile(buckets, share) <= upper
