"""One pool process, seen from its parent."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import suppress

from streams.core.errors import ProcessDied
from streams.core.job_refusals import SimulationFailed, SimulationMemory
from streams.engine.pool.frame import ANSWER, FRAME_MAX_BYTES, HEADER, JOB, MEMORY, READY, frame

_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""the pool has one process for each processor: threads would contend"""


class PoolProcess:
    """Serves one job at a time. After anything but an answer, only `kill` is valid."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.jobs = 0

    @classmethod
    async def start(cls, entry: str, memory_bytes: int) -> PoolProcess:
        """A new interpreter that has imported ``entry``. Spawned, not forked: a fork would inherit
        locks and sockets. Raises `ProcessDied`."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "streams.engine.pool.child", str(os.getpid()), entry, str(memory_bytes)),
            stdin=PIPE,
            stdout=PIPE,
            env={**os.environ, **_ONE_THREAD},
            # Ctrl-C reaches the whole foreground group; the parent decides when jobs end.
            start_new_session=True,
        )
        worker = cls(process)
        try:
            kind, _ = await worker._read()
        except BaseException:
            await worker.kill()
            raise
        assert kind == READY
        return worker

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    async def run(self, job: bytes) -> bytes:
        """The answer. Raises `ProcessDied`, `SimulationMemory` or `SimulationFailed`."""
        self.jobs += 1
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(frame(JOB, job))
            await self._process.stdin.drain()
        except (BrokenPipeError, ConnectionResetError) as error:
            raise self._death() from error
        kind, body = await self._read()
        if kind == ANSWER:
            return body
        if kind == MEMORY:
            raise SimulationMemory("the simulation needs more than DIA_POOL_MEMORY_BYTES.")
        raise SimulationFailed(f"the scenario's code raised {body.decode(errors='replace')}")

    async def _read(self) -> tuple[int, bytes]:
        stdout = self._process.stdout
        assert stdout is not None
        try:
            length, kind = HEADER.unpack(await stdout.readexactly(HEADER.size))
            if length > FRAME_MAX_BYTES:
                raise SimulationFailed(f"the answer has {length} bytes, at most {FRAME_MAX_BYTES}.")
            return kind, await stdout.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionResetError) as error:
            raise self._death() from error

    def _death(self) -> ProcessDied:
        return ProcessDied(f"pool process {self.pid} died under its job.")

    async def kill(self) -> None:
        if self.alive:
            with suppress(ProcessLookupError):  # it ended by itself
                self._process.kill()
        await self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
