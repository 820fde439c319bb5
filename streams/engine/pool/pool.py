"""The interface of a pool: bytes go in, bytes come out, and each way to fail has a name."""

from __future__ import annotations

from typing import Protocol


class JobPool(Protocol):
    """Runs jobs side by side, each in a process of its own for as long as it takes."""

    @property
    def size(self) -> int:
        """How many jobs run at once; further ones wait for their turn, first come first served."""
        ...

    async def run(self, job: bytes, timeout_s: float) -> bytes:
        """The answer of ``job``.

        Cancelling the call stops the job. Raises `SimulationTimeout` once it ran for
        ``timeout_s``, `SimulationMemory` when it wanted more than its process may have,
        `SimulationFailed` when its code raised, and `ProcessDied` when its process ended under
        it: then it may have run in part, or whole, and can be run again.
        """
        ...

    async def close(self) -> None:
        """Stop everything; jobs under way end with `ProcessDied`."""
        ...
