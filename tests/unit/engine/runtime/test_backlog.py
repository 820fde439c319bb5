"""When rows of open windows are emitted: a partition that has caught up emits all folded records."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.types import Watermarks
from streams.engine.runtime.partition.backlog import BEHIND_MAX_S, Backlog
from tests.unit.engine.runtime.rig_worker import running


class OwnClock:
    """The clock of another machine, ``apart_ms`` ahead of ``clock`` in wall time."""

    def __init__(self, clock, apart_ms) -> None:
        self._clock = clock
        self._apart_ms = apart_ms

    def now_ms(self) -> int:
        return self._clock.now_ms() + self._apart_ms

    def __getattr__(self, name):
        return getattr(self._clock, name)


def shown(rig) -> int:
    return sum(row["n"] for row in rig.shards.m1_rows())


HOUR_MS = 3_600_000


@pytest.mark.parametrize("apart_ms", [-HOUR_MS, 0, 15_000, HOUR_MS])
async def test_rows_of_open_windows_do_not_depend_on_the_clock_of_the_worker(rig, apart_ms):
    """The decision uses broker time: a worker clock that is 10 s ahead must not delay rows until
    the window closes.
    """
    async with running(rig, OwnClock(rig.clock, apart_ms)):
        await rig.clock.advance(5)
        await rig.produce_events(20)
        await rig.clock.advance(3)
        assert shown(rig) == 20


async def test_rows_of_an_old_backlog_are_emitted_as_soon_as_it_is_read(rig):
    """At lag 0 all folded events must be visible."""
    await rig.produce_events(50)
    await rig.clock.advance(600)
    async with running(rig):
        await rig.clock.advance(8)
        assert shown(rig) == 50


async def test_rows_that_a_backlog_held_back_are_emitted_once_it_is_read(rig):
    """Rows that were skipped during the backlog must not wait until their window changes or closes."""
    await rig.produce_events(30)
    await rig.open()
    await rig.fold()
    partition = rig.partition
    assert partition.backlog.reading
    assert partition.prepare([100, 100]).emissions == []
    partition.backlog.observe(1.0, partition.position, Watermarks(30, 30, 1.0))
    (emission,) = partition.take_emissions([100, 100])
    assert emission.rows[0].n.tolist() == [30]


def test_a_partition_is_behind_until_it_has_folded_an_earlier_end():
    """A continuous stream is not a backlog, although its partition is always a few records behind."""
    backlog = Backlog()
    assert backlog.reading
    for second in range(100):
        now_s = float(second)
        backlog.observe(now_s, 1000 * (second - 3), Watermarks(1000 * second, 0, now_s))
        assert backlog.reading == (second < 3)


def test_a_partition_that_falls_behind_by_more_than_the_bound_reads_a_backlog():
    """The backlog ends when the partition has folded up to the end that was observed."""
    backlog = Backlog()
    backlog.observe(0.0, 5, Watermarks(5, 5, 0.0))
    for second in range(1, 40):
        backlog.observe(float(second), 5 + second, Watermarks(1000 + second, 0, float(second)))
        assert backlog.reading == (second > BEHIND_MAX_S)
    backlog.observe(40.0, 1040, Watermarks(1040, 1040, 40.0))
    assert not backlog.reading


def test_an_old_answer_does_not_make_a_backlog():
    """While the broker is away, all records it ever reported are folded, and their rows stay
    visible.
    """
    backlog = Backlog()
    backlog.observe(0.0, 5, Watermarks(5, 5, 0.0))
    backlog.observe(500.0, 5, Watermarks(5, 5, 0.0))
    assert not backlog.reading


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(0, 50), st.integers(0, 50)), max_size=60))
def test_a_partition_at_the_end_does_not_count_as_behind(steps):
    """Law of the emit interval: no row is held back after folding up to the reported end."""
    backlog, now_s, end, position = Backlog(), 0.0, 0, 0
    for wait_s, came, folded in steps:
        now_s += wait_s
        end += came
        position = min(end, position + folded)
        backlog.observe(now_s, position, Watermarks(end, end, now_s))
        if position == end:
            assert not backlog.reading
