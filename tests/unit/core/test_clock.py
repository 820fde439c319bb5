"""Waiting for something no longer than a while: the same on the machine's clock and on virtual ones."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from streams.core.clock import SystemClock, VirtualClock, settle
from streams.core.wake_signal import WakeSignal
from streams.dev.simulation.loop import LoopClock, VirtualLoop, run

LONG_S = 3600.0


async def _waits_as_promised(clock) -> None:
    """A future that is done ends the wait, one that is not is left as it is."""
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    loop.call_soon(future.set_result, 7)
    await clock.wait(future, LONG_S)
    assert future.result() == 7
    await clock.wait(future, LONG_S)
    pending = loop.create_future()
    await clock.wait(pending, 0.0)
    assert not pending.done()
    failed = loop.create_future()
    failed.set_exception(ValueError("not for who waits"))
    await clock.wait(failed, LONG_S)
    assert isinstance(failed.exception(), ValueError)


async def test_the_machines_clock_waits_as_promised():
    """The engine runs on this one."""
    await _waits_as_promised(SystemClock())


def test_a_simulated_clock_waits_as_promised():
    """And histories are only as good as their clock is like it."""
    loop = VirtualLoop()
    run(loop, _waits_as_promised(LoopClock(loop)))


async def test_a_hand_moved_clock_waits_as_promised():
    """Tests of single parts move time themselves."""
    clock = VirtualClock()
    waiting = asyncio.ensure_future(_waits_as_promised(clock))
    await settle()
    await waiting
    future = asyncio.get_running_loop().create_future()
    waiting = asyncio.ensure_future(clock.wait(future, 5.0))
    await settle()
    await clock.advance(4.9)
    assert not waiting.done()
    await clock.advance(0.2)
    await waiting
    assert not future.done()


@pytest.mark.parametrize("told", [True, False])
async def test_a_signal_ends_a_wait_early_and_a_deadline_ends_it_at_last(told):
    """Whoever waits for a change must not miss one, nor wait for ever."""
    clock = VirtualClock()
    signal = WakeSignal(clock)
    waiting = asyncio.ensure_future(signal.wait(5.0))
    await settle()
    if told:
        signal.notify()
        await settle()
    else:
        await clock.advance(5.0)
    assert waiting.done()


async def test_who_gave_up_is_not_woken():
    """A waiter that was cancelled leaves nothing that the next notification would trip over."""
    signal = WakeSignal(VirtualClock())
    waiting = asyncio.ensure_future(signal.wait(None))
    await settle()
    waiting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting
    after = asyncio.ensure_future(signal.wait(None))
    await settle()
    signal.notify()
    await after
    assert waiting.cancelled()
