"""An event loop in which waiting takes no time, and a clock that reads it.

The loop never sleeps: where it would wait for the next timer, its time jumps there. So a run
takes as long as its work, and the same program makes the same steps every time.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_TICK_S = 1e-6


class Stalled(Exception):  # noqa: N818 - what happened to the simulated world
    """Every task waits for something that no timer will bring."""


class _JumpingSelector(selectors.SelectSelector):
    """Instead of waiting ``timeout`` seconds, lets them have passed."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.turns = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Nothing is ever ready: a simulated world has no files, no sockets and no threads."""
        self.turns += 1
        if timeout is None:
            raise Stalled("no task can go on and no timer is set")
        self.now_s += max(timeout, 0.0)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """See the module docstring."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)
        # asyncio compares timers with a resolution; a jump lands exactly on one.
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self._jumping.now_s

    @property
    def turns(self) -> int:
        """How often the loop went round."""
        return self._jumping.turns


class LoopClock:
    """The `Clock` of a `VirtualLoop`; `jump_wall` steps the wall clock alone, as NTP does."""

    def __init__(self, loop: VirtualLoop, start_ms: int = 1_760_000_000_000) -> None:
        self._loop = loop
        self._start_ms = start_ms

    def now_ms(self) -> int:
        return self._start_ms + round(self._loop.time() * 1000)

    def monotonic(self) -> float:
        return self._loop.time()

    async def sleep(self, delay_s: float) -> None:
        # Below the resolution of a float, "until the deadline" would take no time for ever.
        await asyncio.sleep(max(_TICK_S, delay_s) if delay_s > 0 else 0.0)

    async def wait(self, future: asyncio.Future[Any], delay_s: float) -> None:
        await asyncio.wait((future,), timeout=max(_TICK_S, delay_s))

    def jump_wall(self, delta_ms: int) -> None:
        """Move the wall clock; monotonic time does not notice."""
        self._start_ms += delta_ms


def run(loop: VirtualLoop, main: Coroutine[Any, Any, T]) -> T:
    """Run ``main`` to its end on ``loop``, then cancel what it left behind."""
    try:
        return loop.run_until_complete(main)
    finally:
        if left := asyncio.all_tasks(loop):
            for task in left:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.close()
