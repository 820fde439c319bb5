"""Health of a shard by its calls: slow, failing, silent, or no calls."""

from __future__ import annotations

import asyncio

import pytest

from streams.core.clock import VirtualClock
from streams.core.degradation.calls import Calls
from streams.core.degradation.level import Level
from streams.core.errors import ShardBusy, ShardUnavailable
from streams.core.rows.built_in_tables import RowsRefused


@pytest.fixture
def clock():
    return VirtualClock()


@pytest.fixture
def calls(clock):
    return Calls("shard 0", clock, latency_s=1.0, error_share=0.01)


async def _call(calls, clock, took_s=0.1, error=None):
    try:
        with calls.call():
            await clock.advance(took_s)
            if error is not None:
                raise error
    except (ShardUnavailable, ShardBusy, RowsRefused):
        return


def _level(calls):
    return calls.reading().level


async def test_a_shard_without_calls_is_healthy(calls, clock):
    """A pipeline without traffic is not degraded."""
    assert calls.reading() == (Level.HEALTHY, "")
    await clock.advance(1000)
    assert _level(calls) == Level.HEALTHY


async def test_two_slow_calls_do_not_degrade_but_a_ratio_does(calls, clock):
    """The trigger is a ratio: the first answers of a server are slow."""
    for _ in range(2):
        await _call(calls, clock, took_s=3.0)
    await _call(calls, clock)
    assert _level(calls) == Level.HEALTHY
    await _call(calls, clock, took_s=3.0)
    assert _level(calls) == Level.DEGRADED
    assert "3 of 4 calls of shard 0 took more than 1 s" in calls.reading().why
    for _ in range(60):
        await _call(calls, clock)
    assert _level(calls) == Level.HEALTHY


async def test_failures_beyond_their_share_degrade(calls, clock):
    """Three of three hundred calls are 1 %; a fourth exceeds it."""
    for _ in range(297):
        await _call(calls, clock, took_s=0.01)
    for _ in range(3):
        await _call(calls, clock, took_s=0.01, error=ShardBusy("busy"))
    assert _level(calls) == Level.HEALTHY
    await _call(calls, clock, took_s=0.01, error=ShardBusy("busy"))
    assert _level(calls) == Level.DEGRADED


async def test_a_silent_shard_is_degraded_soon_and_away_later(calls, clock):
    """Refused connections and one hanging call look the same: no call is answered."""
    hanging = asyncio.create_task(_hang(calls))
    await asyncio.sleep(0)
    await clock.advance(4.9)
    assert _level(calls) == Level.HEALTHY
    await clock.advance(0.1)
    assert _level(calls) == Level.DEGRADED
    await clock.advance(10.0)
    assert _level(calls) == Level.PARTIAL
    hanging.cancel()
    await asyncio.gather(hanging, return_exceptions=True)
    assert _level(calls) == Level.HEALTHY, (
        "a cancelled call counts neither as an answer nor as a failure"
    )
    for _ in range(4):
        await _call(calls, clock, took_s=4.0, error=ShardUnavailable("away"))
    assert _level(calls) == Level.PARTIAL
    await _call(calls, clock)
    assert _level(calls) == Level.DEGRADED, "the shard answers again, but its failures still count"
    await clock.advance(31.0)
    assert _level(calls) == Level.HEALTHY


async def _hang(calls):
    with calls.call():
        await asyncio.get_running_loop().create_future()


async def test_a_refused_row_is_an_answer(calls, clock):
    """A shard that refuses a row is healthy: the row is invalid."""
    for _ in range(10):
        await _call(calls, clock, took_s=4.0 / 10, error=RowsRefused([0], "bad"))
    assert _level(calls) == Level.HEALTHY


async def test_idle_time_counts_from_the_end_of_the_last_call(calls, clock):
    """The probe for lack of traffic must not run beside a call."""
    await clock.advance(7.0)
    assert calls.quiet_for_s() == 7.0
    with calls.call():
        await clock.advance(3.0)
        assert calls.quiet_for_s() == 0.0
    assert calls.quiet_for_s() == 0.0
    await clock.advance(1.0)
    assert calls.quiet_for_s() == 1.0


async def test_a_shard_without_settings_of_its_own_is_slow_above_a_second_at_one_call_in_twenty(
    clock,
):
    """Three slow calls of sixty are accepted, three of fifty-nine are not; a call of 1 s is not
    slow.
    """
    calls = Calls("shard 0", clock)
    for _ in range(56):
        await _call(calls, clock, took_s=0.01)
    for took_s in (1.0, 1.01, 1.01, 1.01):
        await _call(calls, clock, took_s=took_s)
    assert _level(calls) == Level.HEALTHY
    calls = Calls("shard 0", clock)
    for _ in range(56):
        await _call(calls, clock, took_s=0.01)
    for _ in range(3):
        await _call(calls, clock, took_s=1.01)
    assert _level(calls) == Level.DEGRADED


async def test_a_shard_without_settings_of_its_own_fails_above_one_call_in_a_hundred(clock):
    """At least three failures are needed: two failures of a quiet night do not degrade the shard."""
    calls = Calls("shard 0", clock)
    for _ in range(2):
        await _call(calls, clock, took_s=0.01, error=ShardBusy("busy"))
    assert _level(calls) == Level.HEALTHY
    for _ in range(297):
        await _call(calls, clock, took_s=0.01)
    await _call(calls, clock, took_s=0.01, error=ShardBusy("busy"))
    assert _level(calls) == Level.HEALTHY
    await _call(calls, clock, took_s=0.01, error=ShardBusy("busy"))
    assert _level(calls) == Level.DEGRADED


@pytest.mark.parametrize(("later_s", "level"), [(30.0, Level.DEGRADED), (30.1, Level.HEALTHY)])
async def test_a_failure_counts_for_half_a_minute(calls, clock, later_s, level):
    """The window shows a pattern and ends soon after its cause."""
    for _ in range(3):
        await _call(calls, clock, took_s=0.0, error=ShardBusy("busy"))
    await clock.advance(later_s)
    assert _level(calls) == level


@pytest.mark.parametrize("error", [ShardUnavailable("away"), ShardBusy("busy"), ValueError("bug")])
async def test_the_caller_gets_the_error(calls, error):
    """Counting an error must not swallow it."""
    with pytest.raises(type(error)), calls.call():
        raise error


async def test_silence_is_counted_from_the_call_that_began_it(calls, clock):
    """Also in a long-running process, and while later calls are cancelled."""
    await clock.advance(1000.0)
    hanging, given_up = (asyncio.create_task(_hang(calls)) for _ in range(2))
    await asyncio.sleep(0)
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    await clock.advance(4.9)
    assert _level(calls) == Level.HEALTHY
    await clock.advance(0.1)
    assert _level(calls) == Level.DEGRADED
    hanging.cancel()
    await asyncio.gather(hanging, return_exceptions=True)


async def test_a_refused_row_ends_a_silence(calls, clock):
    """A shard that refuses a row has answered."""
    await _call(calls, clock, error=ShardUnavailable("away"))
    await _call(calls, clock, error=RowsRefused([0], "bad"))
    await clock.advance(20.0)
    assert _level(calls) == Level.HEALTHY
