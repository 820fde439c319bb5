"""An event loop in which waiting takes no time: it jumps to the next timer. Runs are fast and
deterministic."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable, Coroutine, Generator
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")

_TICK_S = 1e-6
_LOOKS_MAX = 100_000
"""looks at a clock between two timers; a right engine needs some hundred"""


class Stalled(Exception):  # noqa: N818 - what happened to the simulated world
    """Every task waits, without a timer."""


class Spinning(Exception):  # noqa: N818 - as above
    """A task runs without a wait, so virtual time does not advance."""


class _Spins(KeyboardInterrupt):
    """The one kind of error that leaves the loop from any task, whatever the task catches."""


class _JumpingSelector(selectors.SelectSelector):
    """Adds ``timeout`` seconds to the time instead of waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.turns = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """There are no files, sockets or threads."""
        self.turns += 1
        if timeout is None:
            raise Stalled("no task can go on and no timer is set")
        self.now_s += max(timeout, 0.0)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)
        # asyncio compares timers with a resolution; a jump ends exactly on one
        self._clock_resolution = 1e-9
        self._looked_at_s = 0.0
        self._looks = 0

    def time(self) -> float:
        return self._jumping.now_s

    def run_until_complete(self, future: Generator[Any, None, T] | Awaitable[T]) -> T:
        """Raises `Stalled`, `Spinning`, or an error of ``future``."""
        try:
            return super().run_until_complete(future)
        except _Spins as spins:
            self.set_exception_handler(lambda *_: None)  # `Spinning` names the task
            raise Spinning(str(spins)) from spins  # its traceback names the task's place

    def look(self) -> float:
        """The time, for a task that may wait for it. A task that does nothing else never ends."""
        now_s = self._jumping.now_s
        if now_s != self._looked_at_s:
            self._looked_at_s, self._looks = now_s, 0
        self._looks += 1
        if self._looks > _LOOKS_MAX:
            self._looks = 0
            raise _Spins(f"{_LOOKS_MAX} looks at the clock, and it is {now_s:.3f} s all the time")
        return now_s

    @property
    def turns(self) -> int:
        return self._jumping.turns


class LoopClock:
    """`jump_wall` steps the wall clock alone, as NTP does."""

    def __init__(self, loop: VirtualLoop, start_ms: int = 1_760_000_000_000) -> None:
        self._loop = loop
        self._start_ms = start_ms

    def now_ms(self) -> int:
        return self._start_ms + round(self._loop.time() * 1000)

    def monotonic(self) -> float:
        return self._loop.look()

    async def sleep(self, delay_s: float) -> None:
        # A delay below the float resolution would never advance the time.
        await asyncio.sleep(max(_TICK_S, delay_s) if delay_s > 0 else 0.0)

    async def wait(self, future: asyncio.Future[Any], delay_s: float) -> None:
        await asyncio.wait((future,), timeout=max(_TICK_S, delay_s))

    def jump_wall(self, delta_ms: int) -> None:
        self._start_ms += delta_ms


def run(loop: VirtualLoop, main: Coroutine[Any, Any, T]) -> T:
    """Then cancel remaining tasks. Raises as `VirtualLoop.run_until_complete`."""
    try:
        return loop.run_until_complete(main)
    finally:
        with suppress(Spinning):
            cancel_the_rest(loop)
        loop.close()


def cancel_the_rest(loop: VirtualLoop) -> None:
    """Cancel its tasks and wait for their ends."""
    if left := asyncio.all_tasks(loop):
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
