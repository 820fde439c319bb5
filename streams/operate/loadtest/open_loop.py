"""Sends each request of a flow when it is due, whatever became of those before it.

The law: every request that was due is recorded once, with the time from when it was *due*. A stall,
of the server or by the bound of open requests, delays what is due in it, and that delay is measured
(no coordinated omission; G. Tene, How NOT to Measure Latency, 2013)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from streams.core.clock import Clock
from streams.operate.loadtest.recorder import FlowRecord, RequestOutcome
from streams.operate.loadtest.schedule import Floats

UNSENT: Final = RequestOutcome("not_sent", given_up=True)
UNANSWERED: Final = RequestOutcome("no_answer", given_up=True)
STOP_GRACE_S: Final = 3.0
"""for answers, after an order to stop"""
_LOOK_S: Final = 0.25
"""at most until a stop is seen"""
_CAUGHT_UP_S: Final = 0.01

Send = Callable[[], Awaitable[RequestOutcome]]
"""One request; it raises nothing but its cancellation."""


class Horizon:
    """Seconds of the test, which begins now: a request that is due at or behind ``due_until_s`` is
    not sent, and behind ``answers_until_s`` no answer is awaited."""

    def __init__(self, clock: Clock, duration_s: float, drain_s: float) -> None:
        self._clock = clock
        self._began_s = clock.monotonic()
        self.due_until_s = duration_s
        self.answers_until_s = duration_s + drain_s
        self.stopped = False

    @property
    def now_s(self) -> float:
        return self._clock.monotonic() - self._began_s

    def stop(self) -> None:
        """Send nothing more, and end soon."""
        self.stopped = True
        self.due_until_s = min(self.due_until_s, self.now_s)
        self.answers_until_s = min(self.answers_until_s, self.now_s + STOP_GRACE_S)

    async def reached(self, at_s: float) -> bool:
        """Wait for ``at_s``; False once nothing that is due then is sent."""
        while at_s < self.due_until_s and (left_s := at_s - self.now_s) > 0:
            await self._clock.sleep(min(_LOOK_S, left_s))
        return at_s < self.due_until_s


class OpenLoop:
    """One flow. ``open``: requests that are sent and not answered. ``late_s``: the longest delay of a
    sending that this process is to blame for, not the bound ``in_flight``."""

    def __init__(self, horizon: Horizon, in_flight: int, record: FlowRecord) -> None:
        self._horizon = horizon
        self._in_flight = in_flight
        self._record = record
        self._tasks: set[asyncio.Task[None]] = set()
        self._freed = asyncio.Event()
        self._behind = False
        self.late_s = 0.0

    @property
    def open(self) -> int:
        return len(self._tasks)

    async def run(self, due_s: Floats, send: Send) -> None:
        """Returns when every request that was due is recorded."""
        try:
            for number, due in enumerate(due_s.tolist()):
                if not await self._horizon.reached(due):
                    break
                if not await self._has_room():
                    self._leave(due_s[number:].tolist())
                    break
                self._begin(due, send)
                # answers are read although nothing was waited for
                await asyncio.sleep(0)
            while self._tasks and await self._answered():
                pass
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _has_room(self) -> bool:
        """False where no request may be open any more."""
        while len(self._tasks) >= self._in_flight:
            self._behind = True
            if not await self._answered():
                return False
        return True

    async def _answered(self) -> bool:
        """Wait for an answer, a moment; False when none is awaited any more."""
        left_s = self._horizon.answers_until_s - self._horizon.now_s
        if left_s <= 0:
            return False
        self._freed.clear()
        try:
            async with asyncio.timeout(min(_LOOK_S, left_s)):
                await self._freed.wait()
        except TimeoutError:
            pass
        return True

    def _begin(self, due_s: float, send: Send) -> None:
        late_s = self._horizon.now_s - due_s
        self._behind = self._behind and late_s > _CAUGHT_UP_S
        if not self._behind:
            self.late_s = max(self.late_s, late_s)
        task = asyncio.create_task(self._one(due_s, send))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._freed.set()

    async def _one(self, due_s: float, send: Send) -> None:
        outcome = UNANSWERED
        try:
            outcome = await send()
        finally:
            self._record.add(due_s, self._horizon.now_s - due_s, outcome)

    def _leave(self, due_s: list[float]) -> None:
        """Requests that were due and never sent."""
        now_s = self._horizon.now_s
        for due in due_s:
            if due < self._horizon.due_until_s:
                self._record.add(due, now_s - due, UNSENT)
