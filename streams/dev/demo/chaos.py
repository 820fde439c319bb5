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


class Blow(NamedTuple):
    """``draw`` in [0, 1) chooses its victim."""

    at_s: float
    hits_shard: bool
    draw: float


def plan(seed: int, kills: int = KILLS, duration_s: float = DURATION_S) -> list[Blow]:
    """``kills`` kills and one restarted shard, in order."""
    rng = random.Random(seed)
    blows = [
        Blow(rng.uniform(0.1, 0.95) * duration_s, i == kills, rng.random())
        for i in range(kills + 1)
    ]
    return sorted(blows)


@dataclass(eq=False)
class Chaos:
    """``kills`` counts killed processes."""

    _worker: WorkerProcess
    _home: Path
    _shards: int
    _clock: Clock
    _say: Callable[[str], None]
    kills: int = field(default=0, init=False)

    async def run(self, blows: list[Blow]) -> None:
        """Raises `DependencyUnreachable` when a shard does not come back."""
        started_at = self._clock.monotonic()
        for blow in blows:
            await self._clock.sleep(started_at + blow.at_s - self._clock.monotonic())
            if blow.hits_shard:
                shard = int(blow.draw * self._shards)
                self._say(f"chaos: kill -9 ClickHouse shard {shard}")
                await asyncio.to_thread(restart_shard, self._home, shard)
                self._say(f"chaos: shard {shard} serves again")
            else:
                await self._kill(blow)

    async def _kill(self, blow: Blow) -> None:
        deadline = self._clock.monotonic() + VICTIM_WAIT_S
        while not (victims := self._worker.alive()):
            if self._clock.monotonic() >= deadline:
                self._worker.check()
                return
            await asyncio.sleep(VICTIM_POLL_S)
        victim = victims[int(blow.draw * len(victims))]
        # it may have ended since
        with suppress(ProcessLookupError):
            os.kill(victim.pid, signal.SIGKILL)
            self.kills += 1
            self._say(f"chaos: kill -9 worker {victim.slot} (pid {victim.pid})")
