"""A pool without processes, for tests and simulations: jobs run in the thread of the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from streams.core.clock import Clock
from streams.core.errors import ProcessDied
from streams.core.job_refusals import SimulationFailed, SimulationMemory, SimulationTimeout
from streams.core.resilience.deadline import Deadline, DeadlinePassed


class InlinePool:
    """A `JobPool`. ``takes_s`` gives the duration of a job by the clock; it raises `ProcessDied` to
    model a dead process."""

    def __init__(
        self,
        function: Callable[[bytes], bytes],
        *,
        size: int,
        clock: Clock,
        takes_s: Callable[[bytes], float] = lambda job: 0.0,
    ) -> None:
        self._function = function
        self._size = size
        self._clock = clock
        self._takes_s = takes_s
        self._slots = asyncio.Semaphore(size)
        self._closed = False

    @property
    def size(self) -> int:
        return self._size

    def told_waiting(self, jobs: int) -> None:
        """Its size is fixed."""

    async def run(self, job: bytes, timeout_s: float) -> bytes:
        async with self._slots:
            if self._closed:
                raise ProcessDied("the pool is closed.")
            try:
                await Deadline(self._clock, timeout_s).wait(self._clock.sleep(self._takes_s(job)))
            except DeadlinePassed as error:
                raise SimulationTimeout(
                    f"the simulation ran for {timeout_s:g} s, its limit, and was stopped."
                ) from error
            try:
                return self._function(job)
            except MemoryError as error:
                raise SimulationMemory("the simulation needs more memory than it may.") from error
            except Exception as error:
                raise SimulationFailed(f"the scenario's code raised {error!r}") from error

    async def close(self) -> None:
        self._closed = True
