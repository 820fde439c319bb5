"""The places of running jobs, given in order of arrival. Their number may change while jobs run and wait."""

from __future__ import annotations

import asyncio
from collections import deque


class JobPlaces:
    """Use it in ``async with``. A smaller ``size`` stops no job: places are given again once fewer
    are used."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.used = 0
        self._starting = 0
        """jobs that have their place and that the event loop has not run yet"""
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def __aenter__(self) -> None:
        # No job waits while a place is free.
        if self.used < self.size:
            self.used += 1
            if self._starting:
                await self._behind_them()
            return
        given: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(given)
        try:
            await given
        except asyncio.CancelledError:
            if given.done() and not given.cancelled():
                # Given and cancelled in one turn of the event loop.
                self._starting -= 1
                self._leave()
            raise
        self._starting -= 1

    async def _behind_them(self) -> None:
        """Jobs that waited, and got their places in this turn of the event loop, run before a new one."""
        self._starting += 1
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            self._leave()
            raise
        finally:
            self._starting -= 1

    async def __aexit__(self, *raised: object) -> None:
        self._leave()

    def resize(self, size: int) -> None:
        assert size >= 1
        self.size = size
        self._give()

    def _leave(self) -> None:
        self.used -= 1
        self._give()

    def _give(self) -> None:
        while self._waiting and self.used < self.size:
            given = self._waiting.popleft()
            if not given.done():
                self.used += 1
                self._starting += 1
                given.set_result(None)
