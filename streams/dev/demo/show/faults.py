"""Faults that a click on the demo's page causes."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from agents.app import MODEL_METRICS
from streams.core.clock import Clock
from streams.core.errors import RefusedBySafety
from streams.core.types import Broker
from streams.dev.demo.serving import TENANT
from streams.dev.local.stack import restart_shard
from streams.engine.health.live_workers import LiveWorker, live_workers

POISON = 10
"""Records of one click: dead letters, and too few for the poison breaker to stop a partition."""
_SPOILT: Sequence[dict[str, Any]] = (
    {"value": "twelve"},
    {"value": None},
    {"ts": 12},
    {"metric": ""},
)


class DemoFaults:
    """One at a time. Each method gives a sentence of what it did."""

    def __init__(
        self,
        home: Path,
        shards: int,
        broker: Broker,
        clock: Clock,
        *,
        serving: Callable[[], bool],
        workers: Callable[[], Sequence[LiveWorker]] | None = None,
        restart: Callable[[Path, int], None] = restart_shard,
    ) -> None:
        """``serving``: whether the demo has compared its events, and takes others."""
        self._home = home
        self._shards = shards
        self._broker = broker
        self._clock = clock
        self._serving = serving
        self._workers = workers or (lambda: live_workers(home / "state"))
        self._restart = restart
        self._busy = asyncio.Lock()
        self._rng = random.Random()

    async def kill_worker(self) -> str:
        """kill -9; its supervisor starts another. Raises `RefusedBySafety` without a worker."""
        victims = [worker for worker in self._workers() if worker.partitions]
        if not victims:
            raise RefusedBySafety("no worker runs that has a partition: wait some seconds.")
        victim = self._rng.choice(victims)
        # it may have ended since
        with suppress(ProcessLookupError):
            os.kill(victim.pid, signal.SIGKILL)
        return f"kill -9 of worker {victim.slot} (pid {victim.pid}); its supervisor starts another"

    async def stop_shard(self) -> str:
        """kill -9, and wait until it serves again. Raises `DependencyUnreachable`, and `RefusedBySafety`
        while another one restarts."""
        if self._busy.locked():
            raise RefusedBySafety("a shard is restarting: wait for it.")
        async with self._busy:
            shard = self._rng.randrange(self._shards)
            began_s = self._clock.monotonic()
            await asyncio.to_thread(self._restart, self._home, shard)
            return (
                f"kill -9 of ClickHouse shard {shard}; it serves again after "
                f"{self._clock.monotonic() - began_s:.1f} s"
            )

    async def send_poison(self) -> str:
        """Records that no agent can process. Raises `RefusedBySafety` until the demo has compared its events:
        it did not send these."""
        if not self._serving():
            raise RefusedBySafety("the demo still compares its own events: wait for its table.")
        now_ms = self._clock.now_ms()
        good = {"tenant_id": TENANT, "model_id": "model-000", "metric": "poison", "ts": now_ms}
        values = [
            msgspec.json.encode({**good, "value": 1.0, **_SPOILT[number % len(_SPOILT)]})
            for number in range(POISON - 1)
        ] + [b"no JSON"]
        producer = self._broker.plain_producer()
        await producer.start()
        try:
            keys = [TENANT.encode()] * len(values)
            await (await producer.send_many(MODEL_METRICS.name, keys, values))
        finally:
            await producer.close()
        return f"{len(values)} poisoned records sent to {MODEL_METRICS.name}: each becomes a dead letter"
