"""Workers by forecast against a fixed number of them, on made-up weeks."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from streams.dev.workload.load_shape import SLOTS_PER_DAY, LoadShape, hourly
from streams.operate.capacity.advice import workers_for
from streams.operate.capacity.forecast import DAY, forecast

WORKER_PER_S = 60.0
SLOT_S = 300.0


def lag_s(slots, workers, worker_per_s, slot_s):
    """Seconds of work that wait at the end of each slot, of ``slots`` events each, when ``workers``
    of each slot work off what comes."""
    waiting, found = 0.0, np.empty(len(slots))
    for at, (events, count) in enumerate(zip(slots.tolist(), workers.tolist(), strict=True)):
        per_s = count * worker_per_s
        waiting = max(0.0, waiting + events - per_s * slot_s)
        found[at] = waiting / per_s
    return found


def test_advice_keeps_up_with_fewer_worker_hours_than_the_peak_size():
    """The last week, each day forecast at midnight; lag is that of a queue in steps of five minutes."""
    shape = LoadShape(1)
    slots = shape.slots()
    load, advised, fixed = hourly(slots), [], []
    for day in range(21, 28):
        known = load[: day * DAY]
        found = forecast(known, DAY)
        advised += workers_for(found.high, WORKER_PER_S, most=64).tolist()
        actual = load[day * DAY : (day + 1) * DAY]
        fixed.append(workers_for(actual, WORKER_PER_S, most=64).max())
    workers = np.repeat(np.array(advised), 12)
    week = slots[21 * SLOTS_PER_DAY :].astype(np.float64)
    assert lag_s(week, workers, WORKER_PER_S, SLOT_S).max() < 60
    assert sum(advised) < 0.8 * max(fixed) * 7 * DAY
    page = (Path(__file__).parents[4] / "docs" / "capacity.md").read_text()
    assert f"in {sum(advised):,} worker-hours" in page
    assert f"takes {max(fixed) * 7 * DAY:,}" in " ".join(page.split())


def test_a_queue_that_is_too_slow_lags():
    """The measure must show what it is to exclude."""
    slots, one = np.full(4, 2 * WORKER_PER_S * SLOT_S), np.ones(4, np.int64)
    assert lag_s(slots, one, WORKER_PER_S, SLOT_S).tolist() == [300.0, 600.0, 900.0, 1200.0]
    assert lag_s(slots, 2 * one, WORKER_PER_S, SLOT_S).tolist() == [0.0] * 4


def test_workers_are_within_their_bounds():
    """More than one a partition would idle, none would stop the pipeline."""
    found = workers_for(np.array([0.0, 3600.0 * 100, 3600.0 * 10_000]), 100.0, most=4)
    assert found.tolist() == [1, 2, 4]
