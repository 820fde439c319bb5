"""A semaphore that is fair between owners: ``owner_max`` of ``places`` for one. A free place goes
to the owner served longest ago, so a single request waits for about one turn of each other
owner."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from streams.connect.access.refusals import Overloaded

WAITING_MAX: Final = 50
"""of one owner"""


class FairSemaphore:
    """``wait_s``: the longest wait for a place."""

    def __init__(self, what: str, *, places: int, owner_max: int, wait_s: float) -> None:
        self._what = what
        self._places = places
        self._owner_max = owner_max
        self._wait_s = wait_s
        self._running: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        """by owner, next one first"""

    @asynccontextmanager
    async def taken(self, owner: str) -> AsyncIterator[None]:
        """Raises `Overloaded` after ``wait_s``, or when too many requests of this owner wait."""
        await self._enter(owner)
        try:
            yield
        finally:
            self._leave(owner)

    async def _enter(self, owner: str) -> None:
        queue = self._waiting.setdefault(owner, deque())
        if len(queue) >= WAITING_MAX:
            raise self._refusal()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(turn)
        self._give()
        try:
            await asyncio.wait_for(asyncio.shield(turn), self._wait_s)
        except BaseException as error:
            if turn.done():
                # The place arrived at the moment of the timeout.
                self._leave(owner)
            else:
                queue.remove(turn)
                self._forget(owner)
            if isinstance(error, TimeoutError):
                raise self._refusal() from None
            raise

    def _leave(self, owner: str) -> None:
        self._running[owner] -= 1
        if not self._running[owner]:
            del self._running[owner]
        self._give()

    def _give(self) -> None:
        """Serve the owners in turn."""
        while self._running.total() < self._places:
            free = (o for o in self._waiting if self._running[o] < self._owner_max)
            owner = next(free, None)
            if owner is None:
                return
            queue = self._waiting.pop(owner)
            queue.popleft().set_result(None)
            self._running[owner] += 1
            if queue:
                self._waiting[owner] = queue

    def _forget(self, owner: str) -> None:
        if not self._waiting.get(owner, True):
            del self._waiting[owner]

    def _refusal(self) -> Overloaded:
        return Overloaded(f"too many {self._what} now", retry_after_s=self._wait_s)
