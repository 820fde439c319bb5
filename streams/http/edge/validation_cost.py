"""What the judging of one body costs, and how long it may hold the event loop.

An edge has one loop for all tenants. To refuse an event costs ten times what it costs to accept one, and
the sender nothing. So a body is judged in slices of `SLICE_EVENTS` events or `SLICE_BYTES`, one slice of
one body in a turn of the loop; it is left at the slice in which `REJECTED_MAX` of its events are refused,
and the answer says how many were not judged. The processor time of what was refused is counted against
its tenant (`Quota.REFUSED_US`), who is not served while it has used up more than its quota.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

SLICE_EVENTS: Final = 500
"""Refused at some 15 us each."""
SLICE_BYTES: Final = 512 << 10
AT_ONCE_EVENTS: Final = 50
"""A slice of so few does not wait for its turn."""


class LoopShare:
    """The loop that all bodies share: one slice in a turn."""

    def __init__(self, processor_s: Callable[[], float] = time.thread_time) -> None:
        self.processor_s = processor_s
        self._slice = asyncio.Lock()

    async def turn(self) -> None:
        """Let everything else run, and each other body have its slice."""
        async with self._slice:
            await asyncio.sleep(0)


class ValidationCost:
    """One body. ``refused_us``: microseconds of the processor for what was refused of it."""

    def __init__(self, loop: LoopShare) -> None:
        self._loop = loop
        self._began_s = 0.0
        self._spent_s = 0.0
        self.refused_us = 0

    async def turn(self) -> None:
        """Before more work on this body: let others work, whose time is not counted here."""
        self._spent_s += self._loop.processor_s() - self._began_s
        await self._loop.turn()
        self._began_s = self._loop.processor_s()

    @contextmanager
    def cutting(self) -> Iterator[None]:
        """A body that cannot be cut is refused whole, with all that it took."""
        self.begin()
        try:
            yield
        except BaseException:
            self.refused(1, 1)
            raise

    def begin(self) -> None:
        """Its next slice is judged from here on, without a pause until `refused`."""
        self._began_s, self._spent_s = self._loop.processor_s(), 0.0

    def refused(self, refused: int, count: int) -> None:
        """Of ``count`` events judged since `begin` so many were refused, and cost their share."""
        spent_s = self._spent_s + self._loop.processor_s() - self._began_s
        self.refused_us += round(1e6 * max(0.0, spent_s) * refused / count)


def slices(values: Sequence[bytes]) -> Iterator[tuple[int, int]]:
    """Where each slice starts and stops."""
    start = size = 0
    for at, value in enumerate(values):
        if at > start and (at - start == SLICE_EVENTS or size + len(value) > SLICE_BYTES):
            yield start, at
            start, size = at, 0
        size += len(value)
    if values:
        yield start, len(values)
