"""`dia worker --agents replay`: the process of the replay agent."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streams.settings import Settings


def serve(settings: Settings, slot: int) -> None:
    """Run submitted plans until SIGTERM. Raises `SlotInUse`, `DependencyUnreachable`."""
    asyncio.run(_serve(settings, slot))


async def _serve(settings: Settings, slot: int) -> None:
    from streams.cli.kafka import broker_of
    from streams.cli.shards import shards_of
    from streams.clock import SystemClock
    from streams.replay.agent import ReplayAgent
    from streams.runtime.identity import SlotLock, instance_id
    from streams.telemetry.health import HealthServer, HealthState, PartitionCounts
    from streams.telemetry.metrics import Metrics
    from streams.version import app_version

    folder, clock = settings.state_path() / "replay", SystemClock()
    lock = SlotLock(folder, slot)
    broker, shards = broker_of(settings), shards_of(settings)
    health = HealthState(clock)
    port = settings.http_port + slot if settings.http_port else 0
    server = HealthServer(
        health, Metrics(version=app_version()), clock, host=settings.http_host, port=port
    )
    agent = ReplayAgent(broker, shards, clock, settings, f"{instance_id(folder, slot)}-replay")

    def joined() -> None:
        health.mark_started()
        health.set_partitions(PartitionCounts())

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, agent.stop)
    await server.start()
    try:
        await agent.run(joined)
    finally:
        health.mark_draining()
        await server.stop()
        if shards is not None:
            await shards.close()
        del lock
