"""One deadline for several waits, on the engine's clock."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from streams.core.clock import VirtualClock, settle
from streams.core.resilience.deadline import Deadline, DeadlinePassed


async def test_waits_share_one_budget():
    """A path of three waits must not take three times the budget."""
    clock = VirtualClock()
    deadline = Deadline(clock, 5.0)
    first = asyncio.ensure_future(deadline.wait(clock.sleep(3.0)))
    await settle()
    await clock.advance(3.0)
    await first
    assert deadline.left_s == 2.0
    second = asyncio.ensure_future(deadline.wait(clock.sleep(3.0)))
    await settle()
    await clock.advance(2.0)
    with pytest.raises(DeadlinePassed):
        await second


async def test_a_wait_over_the_deadline_is_cancelled_before_it_is_reported():
    """A commit that goes on after its deadline could still succeed."""
    clock, ended = VirtualClock(), []

    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    task = asyncio.ensure_future(Deadline(clock, 1.0).wait(endless()))
    await settle()
    await clock.advance(1.0)
    with pytest.raises(DeadlinePassed):
        await task
    assert ended == ["cancelled"]


async def test_an_error_and_a_result_come_through():
    """The deadline changes neither results nor errors that come in time."""
    clock = VirtualClock()

    async def answer() -> int:
        return 7

    async def fail() -> None:
        raise ValueError("mine")

    assert await Deadline(clock, 1.0).wait(answer()) == 7
    with pytest.raises(ValueError, match="mine"):
        await Deadline(clock, 1.0).wait(fail())


async def test_a_cancellation_also_cancels_the_awaited_task():
    """No task of a lost partition may go on."""
    clock, ended = VirtualClock(), []

    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    task = asyncio.ensure_future(Deadline(clock, 9.0).wait(endless()))
    await settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == ["cancelled"]


async def test_after_the_deadline_no_time_is_left():
    """A path that is over its deadline gets no time for its next wait."""
    clock = VirtualClock()
    deadline = Deadline(clock, 1.0)
    await clock.advance(5.0)
    assert deadline.left_s == 0


async def test_a_cancelled_task_has_ended_before_its_end_is_reported():
    """Otherwise an abort could race with a commit that is still being cancelled."""
    clock, ended = VirtualClock(), []

    async def slow_to_end() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(5):
                await asyncio.sleep(0)
            ended.append("cancelled")

    async def waits() -> list[str]:
        with pytest.raises(DeadlinePassed):
            await Deadline(clock, 1.0).wait(slow_to_end())
        return list(ended)

    task = asyncio.ensure_future(waits())
    await settle()
    await clock.advance(1.0)
    assert await task == ["cancelled"]


async def test_a_suppressed_cancellation_is_repeated():
    """A client that suppresses one still ends before its end is reported."""
    clock, cancelled = VirtualClock(), []

    async def suppressing_once() -> None:
        for _ in range(2):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(clock.monotonic())

    task = asyncio.ensure_future(Deadline(clock, 1.0).wait(suppressing_once()))
    await settle()
    for _ in range(2):
        await clock.advance(5.0)
    with pytest.raises(DeadlinePassed):
        await task
    assert len(cancelled) == 2


async def test_a_task_that_suppresses_every_cancellation_is_left_behind():
    """Its caller would wait for ever, and the partition with it."""
    clock, over = VirtualClock(), asyncio.Event()

    async def stubborn() -> None:
        while not over.is_set():
            with suppress(asyncio.CancelledError):
                await over.wait()
        raise ValueError("after the end of its caller's wait")

    task = asyncio.ensure_future(Deadline(clock, 1.0).wait(stubborn()))
    await settle()
    for _ in range(4):
        await clock.advance(5.0)
    assert task.done()
    over.set()
    with pytest.raises(DeadlinePassed):
        await task
    await settle()
