"""Bounds the CPU time and event-loop time of validating one body.

All tenants of an edge share one event loop, and rejecting an event costs the sender nothing. So a
body is validated in slices of `SLICE_EVENTS` events or `SLICE_BYTES`; each turn of the loop runs
one slice of one body. The first slice, and each after a rejected event, has `SUSPECT_SLICE_EVENTS`:
a slice costs 0.16 ms beside its events. Validation stops at the slice in which `REJECTED_MAX`
events are rejected. The CPU time of rejected events is charged to the tenant
(`Quota.REFUSED_US`)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

SLICE_EVENTS: Final = 500
SUSPECT_SLICE_EVENTS: Final = 100
"""Rejecting one event takes about 15 µs, accepting one 2 µs."""
SLICE_BYTES: Final = 512 << 10
AT_ONCE_EVENTS: Final = 50
"""A slice of at most this size does not wait for its turn."""


class LoopShare:
    """The event loop of all bodies: one slice a turn."""

    def __init__(self, processor_s: Callable[[], float] = time.thread_time) -> None:
        self.processor_s = processor_s
        self._slice = asyncio.Lock()

    async def turn(self) -> None:
        """Yield to the event loop, and to one slice of each other body."""
        async with self._slice:
            await asyncio.sleep(0)


class ValidationCost:
    """``refused_us``: CPU microseconds of its rejected events."""

    def __init__(self, loop: LoopShare) -> None:
        self._loop = loop
        self._began_s = 0.0
        self._spent_s = 0.0
        self.refused_us = 0

    async def turn(self) -> None:
        """Yield before the next slice; the time of other tasks is not counted."""
        self._spent_s += self._loop.processor_s() - self._began_s
        await self._loop.turn()
        self._began_s = self._loop.processor_s()

    @contextmanager
    def cutting(self) -> Iterator[None]:
        """Account a body that cannot be split as one rejected event."""
        self.begin()
        try:
            yield
        except BaseException:
            self.refused(1, 1)
            raise

    def begin(self) -> None:
        """Begin a slice, which runs without a pause until `refused`."""
        self._began_s, self._spent_s = self._loop.processor_s(), 0.0

    def refused(self, refused: int, count: int) -> None:
        """Charge the share of ``refused`` among ``count`` events validated since `begin`."""
        spent_s = self._spent_s + self._loop.processor_s() - self._began_s
        self.refused_us += round(1e6 * max(0.0, spent_s) * refused / count)


def slices(values: Sequence[bytes], rejected: Sequence[object]) -> Iterator[tuple[int, int]]:
    """``rejected`` grows while the caller validates the slices."""
    start = size = 0
    room = SUSPECT_SLICE_EVENTS
    for at, value in enumerate(values):
        if at > start and (at - start == room or size + len(value) > SLICE_BYTES):
            yield start, at
            start, size = at, 0
            room = SUSPECT_SLICE_EVENTS if rejected else SLICE_EVENTS
        size += len(value)
    if values:
        yield start, len(values)
