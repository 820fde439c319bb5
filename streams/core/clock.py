"""Clocks: the engine takes time from a `Clock`, never from the ``time`` module."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from typing import Any, Protocol


class Clock(Protocol):
    """Wall time for records, monotonic time for deadlines, and waiting."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds; never decreases; comparable within one process only."""
        ...

    async def sleep(self, delay_s: float) -> None: ...

    async def wait(self, future: asyncio.Future[Any], delay_s: float) -> None:
        """``delay_s`` seconds at most; does not cancel the future."""
        ...


class SystemClock:
    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(max(0.0, delay_s))

    async def wait(self, future: asyncio.Future[Any], delay_s: float) -> None:
        await asyncio.wait((future,), timeout=max(0.0, delay_s))


class VirtualClock:
    """Only `advance` moves it. Sleepers wake in the order of their deadlines, ties in the order of
    their calls."""

    def __init__(self, start_ms: int = 1_700_000_000_000) -> None:
        self._start_ms = start_ms
        self._now_s = 0.0
        self._skew_ms = 0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now_ms(self) -> int:
        return self._start_ms + self._skew_ms + round(self._now_s * 1000)

    def monotonic(self) -> float:
        return self._now_s

    async def sleep(self, delay_s: float) -> None:
        if delay_s <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now_s + delay_s, next(self._order), future))
        await future

    async def wait(self, future: asyncio.Future[Any], delay_s: float) -> None:
        sleeping = asyncio.ensure_future(self.sleep(delay_s))
        try:
            await asyncio.wait((future, sleeping), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()

    def jump_wall(self, delta_ms: int) -> None:
        """Step the wall clock alone, as NTP does."""
        self._skew_ms += delta_ms

    def next_deadline(self) -> float | None:
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        return self._sleepers[0][0] if self._sleepers else None

    async def advance(self, delta_s: float) -> None:
        """Wake each sleeper at its deadline."""
        target = self._now_s + delta_s
        while (deadline := self.next_deadline()) is not None and deadline <= target:
            self._now_s = max(self._now_s, deadline)
            _, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                future.set_result(None)
            await settle()
        self._now_s = target
        await settle()


async def settle(turns: int = 20) -> None:
    """Run ready tasks without moving time."""
    for _ in range(turns):
        await asyncio.sleep(0)
