"""A shared time limit of several waits, on the engine's clock."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from streams.core.clock import Clock
from streams.core.resilience.cancellation import cancel
from streams.core.resilience.unread_error import read_error

T = TypeVar("T")


class DeadlinePassed(Exception):  # noqa: N818 - a signal to the caller, which names the error
    """The awaited task was cancelled. It has ended, or it suppressed each cancellation and is left behind."""


class Deadline:
    """All waits through it end at the same time."""

    def __init__(self, clock: Clock, budget_s: float) -> None:
        self._clock = clock
        self._ends_at = clock.monotonic() + budget_s

    @property
    def left_s(self) -> float:
        return max(0.0, self._ends_at - self._clock.monotonic())

    async def wait(self, awaitable: Awaitable[T]) -> T:
        """Raises `DeadlinePassed`."""
        task = asyncio.ensure_future(awaitable)
        try:
            await self._clock.wait(task, self.left_s)
        finally:
            in_time = task.done()
            if not in_time:
                await cancel(task, self._clock, repr(awaitable))
            read_error(task)  # also if this wait was cancelled in the same turn
        if not in_time:
            raise DeadlinePassed
        return task.result()
