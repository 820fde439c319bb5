"""A task ends after its cancellation, or is left behind after a bounded wait."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from streams.core.clock import VirtualClock, settle
from streams.core.resilience.cancellation import CANCELLATIONS, ENDS_WITHIN_S, cancel


async def test_a_task_ends_at_the_first_cancellation_that_it_does_not_suppress():
    """aiokafka suppresses one while it closes a client."""
    clock = VirtualClock()

    async def suppressing_once() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.Event().wait()

    task = asyncio.ensure_future(suppressing_once())
    await settle()
    ending = asyncio.ensure_future(cancel(task, clock, "task"))
    await settle()
    assert not ending.done()
    await clock.advance(ENDS_WITHIN_S)
    assert await ending
    assert task.cancelled()


async def test_a_task_that_suppresses_each_cancellation_is_left_behind():
    """Its caller would wait for ever. The task's later error is read, so that asyncio reports nothing."""
    clock, over = VirtualClock(), asyncio.Event()

    async def stubborn() -> None:
        while not over.is_set():
            with suppress(asyncio.CancelledError):
                await over.wait()
        raise ValueError("too late")

    task = asyncio.ensure_future(stubborn())
    await settle()
    ending = asyncio.ensure_future(cancel(task, clock, "task"))
    for _ in range(CANCELLATIONS):
        await settle()
        await clock.advance(ENDS_WITHIN_S)
    assert not await ending
    assert not task.done()
    over.set()
    await settle()
    assert task.done()
