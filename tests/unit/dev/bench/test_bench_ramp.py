"""Search for the capacity: it ends, and never reports a rate as safe that failed."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.clock import VirtualClock
from streams.dev.bench.cases.capacity import (
    BEHIND_S,
    CONFIRM_S,
    RATE_MAX_PER_S,
    RESOLUTION,
    SENDER_LATE_S,
    TRY_S,
    Ramp,
    Search,
    Try,
    judged,
)
from streams.dev.bench.load.open_loop import SentLoad


@given(st.integers(1, RATE_MAX_PER_S), st.integers(1, RATE_MAX_PER_S // 2))
def test_the_ramp_finds_the_capacity_of_a_steady_machine(limit, first):
    """Within a tenth, in a bounded number of tries."""
    ramp, tries = Ramp(first), 0
    while (rate := ramp.next_rate()) is not None:
        ramp.tell(rate, held=rate <= limit)
        tries += 1
        assert tries <= 50
    assert ramp.best is not None
    assert ramp.best <= limit
    if ramp.failed is not None:
        assert ramp.failed <= ramp.best * RESOLUTION + 1


@given(st.lists(st.booleans(), max_size=60))
def test_the_ramp_ends_on_a_machine_with_varying_results(answers):
    """A machine may hold a rate once and not again: the search must end, and its result must be
    below every failed rate.
    """
    ramp = Ramp(1000)
    for held in answers:
        rate = ramp.next_rate()
        if rate is None:
            return
        ramp.tell(rate, held=held)
        if ramp.best is not None and ramp.failed is not None:
            assert ramp.best < ramp.failed


def test_the_ramp_gives_up_below_one_event_a_second():
    """Below one event a second the search ends."""
    ramp = Ramp(1000)
    tried = []
    while (rate := ramp.next_rate()) is not None:
        ramp.tell(rate, held=False)
        tried.append(rate)
    assert tried[0] == 1000
    assert tried[-1] == 1
    assert ramp.best is None


@pytest.mark.parametrize(
    ("behind_s", "late_s", "held"),
    [
        (0.9, 0.0, True),
        (1.0 + BEHIND_S + 0.1, 0.0, False),
        (0.9, SENDER_LATE_S + 0.1, False),
    ],
)
def test_a_rate_holds_when_neither_side_falls_behind(behind_s, late_s, held):
    """If the sender is late, the try says nothing about the pipeline."""
    assert judged(1000, 6, behind_s, SentLoad(late_s, [5]), 1.0).held is held


class _Tried(Search):
    """A search on a machine that holds ``limit`` in a short try and ``long`` in a long one."""

    def __init__(self, limit: int, long: int) -> None:
        super().__init__(SimpleNamespace(clock=VirtualClock()), None)
        self.limit, self.long = limit, long

    async def attempt(self, rate_per_s: int, seconds: int) -> Try:
        limit = self.limit if seconds == TRY_S else self.long
        held = rate_per_s <= limit
        self.tries.append(
            Try(
                rate_per_s=rate_per_s,
                seconds=seconds,
                behind_s=0.1,
                sender_late_s=0.0,
                lag_max=0,
                held=held,
            )
        )
        return self.tries[-1]


async def test_the_safe_rate_is_one_that_held_for_long():
    """A rate that holds only for seconds is not safe: the search tries less and reports that."""
    search = _Tried(limit=100_000, long=80_000)
    safe = await search.safe_rate(60.0)
    assert safe is not None
    assert 60_000 <= safe <= 80_000
    assert search.tries[-1].rate_per_s == safe
    assert search.tries[-1].seconds == CONFIRM_S


async def test_no_rate_is_safe_on_a_machine_that_never_holds_one():
    """The result is none instead of the last tried rate."""
    assert await _Tried(limit=0, long=0).safe_rate(60.0) is None
    assert await _Tried(limit=100_000, long=0).safe_rate(60.0) is None
