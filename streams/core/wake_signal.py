"""Waits for a change or a time."""

from __future__ import annotations

import asyncio

from streams.core.clock import Clock


class WakeSignal:
    """Wakes all waiting tasks; later tasks wait for the next `notify`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiters: list[asyncio.Future[None]] = []

    def notify(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self, deadline_s: float | None) -> None:
        """Return at the next `notify`, or at monotonic time ``deadline_s``."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        if deadline_s is None:
            await waiter
            return
        try:
            await self._clock.wait(waiter, deadline_s - self._clock.monotonic())
        finally:
            waiter.cancel()
