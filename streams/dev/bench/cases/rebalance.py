"""The freshness cost of a worker that joins: the gap in the probes."""

from __future__ import annotations

import asyncio
import time

import numpy as np
from numpy.typing import NDArray

from agents.app import MODEL_METRICS
from streams.dev.bench.report.results import Rebalance
from streams.dev.bench.rig import Rig
from streams.dev.bench.worker_log import PartitionReady
from streams.dev.demo.worker_process import WorkerProcess

AFTER = 1 / 3
"""undisturbed share of a paced run before the second worker"""
TAKEN = MODEL_METRICS.partitions // 2


class Joining:
    """It joins in the background; stop it with the first."""

    def __init__(self, rig: Rig, seconds: float) -> None:
        self._rig = rig
        self._began_s = time.time()
        self._joined_s = 0.0
        self._opened: list[PartitionReady] = []
        self.process: WorkerProcess | None = None
        self._task = asyncio.create_task(self._join(seconds * AFTER))

    async def _join(self, after_s: float) -> None:
        await self._rig.clock.sleep(after_s)
        self._joined_s = time.time()
        self.process = self._rig.start_another("worker-joined")
        self._opened = await self._rig.all_opened(self.process, TAKEN)

    async def done(self) -> None:
        """Wait until it has its partitions and an empty outbox. Raises the errors of its start."""
        await self._task
        assert self.process is not None
        await self._rig.until_acknowledged(self.process)

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        if self.process is not None:
            await self._rig.stop(self.process)

    def told(self, due_ms: NDArray[np.float64], delays_s: NDArray[np.float64]) -> Rebalance:
        """The delays are in order of due time."""
        return Rebalance(
            joined_at_s=round(self._joined_s - self._began_s, 2),
            taken=len(self._opened),
            ready_s=round(max(one.at_s for one in self._opened) - self._joined_s, 2),
            gap_s=gap_s(due_ms, delays_s, self._joined_s * 1000),
        )


def gap_s(
    due_ms: NDArray[np.float64], delays_s: NDArray[np.float64], joined_ms: float
) -> float | None:
    """The longest delay since the worker joined, minus the median of all; None when a probe is
    missing, or all are on one side."""
    before = due_ms < joined_ms
    if len(due_ms) != len(delays_s) or before.all() or not before.any():
        return None
    return round(float(delays_s[~before].max() - np.median(delays_s)), 3)
