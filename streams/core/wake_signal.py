"""Waiting for a change, or for a moment of the clock."""

from __future__ import annotations

import asyncio

from streams.core.clock import Clock


class WakeSignal:
    """Wakes all waiting tasks; a task that comes later waits for the next `notify`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiters: list[asyncio.Future[None]] = []

    def notify(self) -> None:
        """Something changed: every waiter looks again."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self, deadline_s: float | None) -> None:
        """Return at the next `notify`, or once the clock's monotonic time is ``deadline_s``."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        if deadline_s is None:
            await waiter
            return
        try:
            await self._clock.wait(waiter, deadline_s - self._clock.monotonic())
        finally:
            waiter.cancel()
