"""How fast a mover copies while operators change its pace, and the progress that it reports."""

from __future__ import annotations

import pytest

from streams.connect.sinks.map_record import DayState
from streams.connect.sinks.moves.notes import MoveOrder, MoveProgress, ToldProgress
from streams.core.clock import VirtualClock
from streams.operate.shards.move_pace import POLL_S, MovePace
from streams.operate.shards.running_move import RUNNING_S, DayStanding, with_pace

DAY = 20_000


class SteppedClock(VirtualClock):
    """It moves while its process sleeps."""

    def blocked(self, seconds):
        self._now_s += seconds


class Operator:
    """Orders by the clock: each holds from its second on."""

    def __init__(self, *orders):
        self.clock = SteppedClock()
        self.orders = orders
        self.told = []
        self.said = []
        self.checks = 0
        self.pace = MovePace(
            self.clock,
            self.clock.blocked,
            self.check,
            self.said.append,
            self.order,
            self.told.append,
        )

    def check(self):
        self.checks += 1

    def order(self):
        now_s = self.clock.monotonic()
        return [order for from_s, order in self.orders if from_s <= now_s][-1]


def test_a_rate_holds_for_rows_that_were_copied():
    """Rows that were there already cost nothing."""
    it = Operator((0, MoveOrder(rate=100.0)))
    it.pace.begin(DAY, 1000)
    it.pace.passed(500, copied=0)
    assert it.clock.monotonic() == 0
    it.pace.passed(500, copied=500)
    assert it.clock.monotonic() == pytest.approx(5)


def test_a_rate_that_is_raised_ends_a_long_wait():
    """One row a second and an insert of 50,000 rows would wait for half a day."""
    it = Operator((0, MoveOrder(rate=1.0)), (7, MoveOrder()))
    it.pace.begin(DAY, 50_000)
    it.pace.passed(50_000, copied=50_000)
    assert 7 <= it.clock.monotonic() <= 7 + POLL_S


def test_a_pause_lasts_until_the_order_to_resume():
    """Its time is not counted, or the time that is left would be wrong. The lock is looked at."""
    it = Operator((0, MoveOrder(paused=True)), (100, MoveOrder(batch=7, rate=10.0)))
    it.pace.begin(DAY, 100)
    assert 100 <= it.clock.monotonic() <= 100 + POLL_S
    assert it.checks >= 100 / POLL_S
    assert [text for text in it.said if "dia shards resume" in text]
    assert it.pace.batch == 7
    it.pace.passed(40, copied=40)
    last = it.told[-1]
    assert (last.day, last.whole, last.done) == (DAY, 100, 40)
    assert last.per_s == pytest.approx(40 / last.seconds)
    assert last.seconds <= 4


def standing(day, state, left):
    return DayStanding(3, day, state, left, 0)


def test_the_time_that_is_left_adds_up_by_days():
    """Days are copied one after the other; rows that are copied are still on their old shard."""
    days = [
        standing(DAY, DayState.DONE, 0),
        standing(DAY + 1, DayState.COPYING, 300),
        standing(DAY + 2, DayState.COPYING, 500),
    ]
    progress = MoveProgress(day=DAY + 1, whole=300, done=100, seconds=10.0)
    found = with_pace(days, MoveOrder(), ToldProgress(progress, 1.0))
    assert [one.seconds_left for one in found] == [None, 20.0, 70.0]
    assert [one.per_s for one in found] == [None, 10.0, 10.0]


def test_a_mover_that_ended_gives_no_time():
    """Its rate is that of a run which is over."""
    days = [standing(DAY, DayState.COPYING, 300)]
    progress = MoveProgress(day=DAY, whole=300, done=100, seconds=10.0)
    order = MoveOrder(paused=True)
    (found,) = with_pace(days, order, ToldProgress(progress, RUNNING_S))
    assert (found.paused, found.per_s, found.seconds_left) == (True, None, None)
    assert with_pace(days, order, None) == [found]
