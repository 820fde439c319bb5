"""Bounded waits, the same on the real clock and on virtual ones."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from streams.core.clock import SystemClock, VirtualClock, settle
from streams.core.wake_signal import WakeSignal
from streams.dev.simulation.loop import LoopClock, Spinning, VirtualLoop, run

LONG_S = 3600.0


async def _check_waits(clock) -> None:
    """A completed future ends the wait, a pending one is left untouched."""
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


async def test_waits_on_the_real_clock():
    """The engine runs on this clock."""
    await _check_waits(SystemClock())


def test_waits_on_a_simulated_clock():
    """Simulated histories rely on this equality."""
    loop = VirtualLoop()
    run(loop, _check_waits(LoopClock(loop)))


async def test_waits_on_a_manual_clock():
    """Tests of single parts move the time themselves."""
    clock = VirtualClock()
    waiting = asyncio.ensure_future(_check_waits(clock))
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
async def test_a_wait_ends_at_its_signal_or_deadline(told):
    """A waiter must neither miss a change nor wait without end."""
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


async def test_a_cancelled_waiter_is_not_woken():
    """A cancelled waiter leaves no entry that the next notification would wake."""
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


@pytest.mark.parametrize("yields", [False, True])
def test_a_task_that_waits_for_nothing_ends_its_simulation(yields):
    """Virtual time does not advance meanwhile: the history of such an engine hung, and no check saw why."""
    loop = VirtualLoop()
    clock = LoopClock(loop)

    async def spin():
        began_s = clock.monotonic()
        while clock.monotonic() < began_s + 1.0:
            if yields:
                await asyncio.sleep(0)

    async def story():
        spinning = asyncio.create_task(spin())
        await clock.sleep(5.0)
        with contextlib.suppress(Exception):  # as an engine does with the errors of an app's code
            await spinning

    with pytest.raises(Spinning, match="looks at the clock"):
        run(loop, story())


def test_a_loop_that_runs_in_steps_names_the_task_that_spins():
    """The loop of an `AppTester`: a KeyboardInterrupt ended all tests, not the one whose app spins."""
    loop = VirtualLoop()
    clock = LoopClock(loop)

    async def spin():
        while True:
            clock.monotonic()

    with pytest.raises(Spinning, match="looks at the clock"):
        loop.run_until_complete(spin())
    loop.run_until_complete(clock.sleep(1.0))
    loop.close()
    assert clock.monotonic() == 1.0
