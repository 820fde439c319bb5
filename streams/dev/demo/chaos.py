"""Faults of the demo: workers killed at random times, a shard restarted; seeded."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from streams.core.clock import Clock
from streams.dev.demo.worker_process import WorkerProcess
from streams.dev.local.stack import restart_shard

KILLS = 5
DURATION_S = 60.0
"""Long enough that kills meet every step of a commit."""
VICTIM_WAIT_S = 30.0
VICTIM_POLL_S = 0.1


class PlannedFault(NamedTuple):
    """``draw`` in [0, 1) chooses its victim."""

    at_s: float
    hits_shard: bool
    draw: float


def plan(seed: int, kills: int = KILLS, duration_s: float = DURATION_S) -> list[PlannedFault]:
    """``kills`` kills and one restarted shard, in order."""
    rng = random.Random(seed)
    faults = [
        PlannedFault(rng.uniform(0.1, 0.95) * duration_s, i == kills, rng.random())
        for i in range(kills + 1)
    ]
    return sorted(faults)


@dataclass(eq=False)
class Chaos:
    """``kills`` counts killed processes."""

    _worker: WorkerProcess
    _home: Path
    _shards: int
    _clock: Clock
    _say: Callable[[str], None]
    kills: int = field(default=0, init=False)

    async def run(self, faults: list[PlannedFault]) -> None:
        """Raises `DependencyUnreachable` when a shard does not come back."""
        started_at = self._clock.monotonic()
        for fault in faults:
            await self._clock.sleep(started_at + fault.at_s - self._clock.monotonic())
            if fault.hits_shard:
                shard = int(fault.draw * self._shards)
                self._say(f"chaos: kill -9 ClickHouse shard {shard}")
                await asyncio.to_thread(restart_shard, self._home, shard)
                self._say(f"chaos: shard {shard} serves again")
            else:
                await self._kill(fault)

    async def _kill(self, fault: PlannedFault) -> None:
        deadline = self._clock.monotonic() + VICTIM_WAIT_S
        while not (victims := self._worker.alive()):
            if self._clock.monotonic() >= deadline:
                self._worker.check()
                return
            await asyncio.sleep(VICTIM_POLL_S)
        victim = victims[int(fault.draw * len(victims))]
        # it may have ended since
        with suppress(ProcessLookupError):
            os.kill(victim.pid, signal.SIGKILL)
            self.kills += 1
            self._say(f"chaos: kill -9 worker {victim.slot} (pid {victim.pid})")
