"""Back-off: pauses of a retry loop."""

from __future__ import annotations

import asyncio

from streams.core.clock import VirtualClock, settle
from streams.core.resilience.backoff import Backoff


def test_pauses_double_up_to_the_longest_and_begin_again_after_a_success():
    """Attempts at an absent service must neither speed up nor become rarer without a bound."""
    backoff = Backoff(VirtualClock(), 0.5, 3.0)
    assert [backoff.next_s() for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]
    backoff.reset()
    assert backoff.next_s() == 0.5


async def test_a_pause_is_slept_on_the_clock_it_was_given():
    """The simulation drives that clock; a sleep of the event loop would not advance."""
    clock = VirtualClock()
    backoff = Backoff(clock, 0.5, 3.0)
    began = clock.monotonic()
    for _ in range(3):
        pause = asyncio.create_task(backoff.pause())
        await settle()
        await clock.advance(4.0)
        await pause
    assert clock.monotonic() - began == 12.0
