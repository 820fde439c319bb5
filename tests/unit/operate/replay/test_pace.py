"""The rate of a replay: never exceeded, and reached despite the time of transactions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.clock import VirtualClock
from streams.dev.simulation.loop import LoopClock, VirtualLoop, run
from streams.operate.replay.run.pace import LETTERS_PER_STEP, ReplayPace, share


def sent_at_s(per_s, steps):
    """Seconds after the start at which each of ``steps`` (dead letters, duration of the transaction
    in s) may be sent.
    """
    loop = VirtualLoop()
    clock = LoopClock(loop)

    async def send():
        began_s, times = clock.monotonic(), []
        pace = ReplayPace(clock, per_s)
        for letters, took_s in steps:
            await pace.take(letters)
            times.append(clock.monotonic() - began_s)
            await clock.sleep(took_s)
        return times

    return run(loop, send())


@given(
    st.floats(0.5, 20_000),
    st.lists(st.tuples(st.integers(1, 5000), st.floats(0, 10)), min_size=1, max_size=20),
)
def test_the_rate_is_never_exceeded(per_s, steps):
    """The target of a replay may have been overloaded before."""
    sent = 0
    for (letters, _), at_s in zip(steps, sent_at_s(per_s, steps), strict=True):
        sent += letters
        assert sent <= per_s * at_s * (1 + 1e-9) + 1e-6


def test_the_duration_of_transactions_counts_towards_the_rate():
    """With a full pause after each step, a rate of 100/s would become 71/s."""
    times = sent_at_s(100.0, [(25, 0.1)] * 10)
    assert times == pytest.approx([0.25 * number for number in range(1, 11)])


def test_unused_time_is_not_saved():
    """After a minute without dead letters, the next ones come at the rate and not all at once."""
    before, *after = sent_at_s(100.0, [(25, 60.0), (100, 0.0), (100, 0.0)])
    first_s = before + 60.0
    assert after == pytest.approx([first_s + 0.75, first_s + 1.75])


def test_without_a_rate_nothing_waits():
    """Only the size of a step bounds a transaction then."""
    assert sent_at_s(None, [(LETTERS_PER_STEP, 0.0)] * 3) == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("per_s", "letters"), [(None, 5000), (1e9, 5000), (20_000.0, 5000), (100.0, 25), (0.1, 1)]
)
def test_a_step_is_a_quarter_of_a_second(per_s, letters):
    """Small enough for an even load and for one transaction."""
    assert ReplayPace(VirtualClock(), per_s).step == letters


@pytest.mark.parametrize(
    ("rate", "letters", "whole", "part"),
    [(None, 1, 4, None), (100.0, 1, 4, 25.0), (100.0, 1, 1, 100.0), (100.0, 0, 0, 0.0)],
)
def test_partitions_share_a_rate_by_their_number_of_dead_letters(rate, letters, whole, part):
    """Hosts run different partitions: together they reach the rate, and they end at the same time."""
    assert share(rate, letters, whole) == part
