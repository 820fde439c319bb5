"""The interface of a pool of processes."""

from __future__ import annotations

from typing import Protocol


class JobPool(Protocol):
    @property
    def size(self) -> int:
        """Number of jobs that run at once; others wait in order of arrival."""
        ...

    def told_waiting(self, jobs: int) -> None:
        """How many jobs wait, several times a second: `size` may follow it. Running jobs go on."""
        ...

    async def run(self, job: bytes, timeout_s: float) -> bytes:
        """The answer of ``job``.

        Cancelling the call stops the job. Raises `SimulationTimeout` after ``timeout_s``,
        `SimulationMemory` above the process's limit, `SimulationFailed` if its code raised, and
        `ProcessDied` if its process ended: the job may have run, and can be run again.
        """
        ...

    async def close(self) -> None:
        """Stop everything; running jobs end with `ProcessDied`."""
        ...
