"""A pool of spawned processes that are replaced one by one, after ``recycle_jobs`` jobs and after
anything but an answer.

`concurrent.futures.ProcessPoolExecutor` breaks as a whole when a child dies and cannot stop a
running job; loky fails the jobs of all its processes; pebble is LGPL, with polling threads. Here a
process is an asyncio subprocess with two pipes and no thread.
"""

from __future__ import annotations

import asyncio

import structlog

from streams.core.clock import Clock
from streams.core.errors import ProcessDied
from streams.core.job_refusals import SimulationFailed, SimulationTimeout
from streams.core.resilience.deadline import Deadline, DeadlinePassed
from streams.engine.pool.places import JobPlaces
from streams.engine.pool.pool_scale import PoolScale
from streams.engine.pool.worker_process import PoolProcess

_START_TIMEOUT_S = 60.0
_STARTS_MAX = 3
"""failed starts in a row before a job fails: the host lacks a resource"""

log = structlog.get_logger(__name__)


class ProcessPool:
    """A `JobPool`. Starts processes when first needed and keeps them."""

    def __init__(
        self,
        entry: str,
        *,
        size: int,
        recycle_jobs: int,
        memory_bytes: int,
        clock: Clock,
        least: int | None = None,
    ) -> None:
        """``entry``: the function that the processes call, as ``module:function``. With ``least``, the
        pool has so many processes at first, and up to ``size`` by what waits."""
        self._entry = entry
        self._recycle_jobs = recycle_jobs
        self._memory_bytes = memory_bytes
        self._clock = clock
        self._scale = PoolScale(size if least is None else least, size)
        self._places = JobPlaces(self._scale.size)
        self._idle: list[PoolProcess] = []
        self._busy: set[PoolProcess] = set()
        self._ending: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def size(self) -> int:
        return self._places.size

    def told_waiting(self, jobs: int) -> None:
        """Idle processes above a smaller size end now, others after their job."""
        if not self._scale.step(jobs, self._clock.monotonic()):
            return
        log.info("pool_scaled", processes=self._scale.size, before=self.size, waiting=jobs)
        self._places.resize(self._scale.size)
        while self._idle and len(self._idle) + len(self._busy) > self.size:
            ending = asyncio.create_task(self._idle.pop().kill(), name="pool-process-ends")
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)

    @property
    def pids(self) -> list[int]:
        return [worker.pid for worker in (*self._idle, *self._busy)]

    async def run(self, job: bytes, timeout_s: float) -> bytes:
        async with self._places:
            if self._closed:
                raise ProcessDied("the pool is closed.")
            worker = await self._take()
            self._busy.add(worker)
            answered = False
            try:
                answer = await Deadline(self._clock, timeout_s).wait(worker.run(job))
                answered = True
            except DeadlinePassed as error:
                raise SimulationTimeout(
                    f"the simulation ran for {timeout_s:g} s, its limit, and was stopped."
                ) from error
            finally:
                self._busy.discard(worker)
                kept = answered and worker.jobs < self._recycle_jobs and not self._closed
                if kept and len(self._idle) + len(self._busy) < self.size:
                    self._idle.append(worker)
                else:
                    await worker.kill()
            return answer

    async def _take(self) -> PoolProcess:
        while self._idle:
            worker = self._idle.pop()
            if worker.alive:
                return worker
            await worker.kill()
        for _ in range(_STARTS_MAX):
            try:
                start = PoolProcess.start(self._entry, self._memory_bytes)
                return await Deadline(self._clock, _START_TIMEOUT_S).wait(start)
            except (ProcessDied, DeadlinePassed, OSError, SimulationFailed) as error:
                log.warning("pool_process_not_started", why=str(error))
        raise ProcessDied("no pool process could be started: is the host out of memory or pids?")

    async def close(self) -> None:
        self._closed = True
        workers, self._idle = [*self._idle, *self._busy], []
        await asyncio.gather(*(worker.kill() for worker in workers), *self._ending)
