"""Event ids on disk, and files that become corrupt under a running worker."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

from agents.app import MODEL_METRICS, app
from streams.dev.simulation.history import SETTINGS
from streams.dev.simulation.loop import VirtualLoop, run
from streams.dev.simulation.world import World

EVENTS = 400
PATIENCE_S = 3600.0
LONG_TTL = replace(SETTINGS, dedupe_ttl_s=86_400, max_live_windows=10_000)


async def _send(world, ts_ms):
    producer = world.broker.plain_producer()
    for number in range(EVENTS):
        event = {
            "tenant_id": "t", "model_id": f"m{number}", "metric": "x", "event_id": str(number),
            "ts": ts_ms, "value": 1.0,
        }  # fmt: skip
        await (await producer.send(MODEL_METRICS.name, b"t", json.dumps(event).encode()))


async def _settled(world, process):
    deadline = world.clock.monotonic() + PATIENCE_S
    await asyncio.sleep(5.0)
    while not process.worker.settled:
        assert process.failure is None
        assert world.clock.monotonic() < deadline
        await asyncio.sleep(1.0)


async def _play(world):
    """Send all events, corrupt every file, send all again; returns the number of counted events and
    of files.
    """
    await world.create_topics()
    ts_ms = world.clock.now_ms()
    process = world.process(0)
    process.start()
    for _ in range(3):
        await _send(world, ts_ms)
        await _settled(world, process)
    (files,) = [f for disk in world.disks.values() for f in disk.files.values() if f.names()]
    names = files.names()
    for content in files.contents.values():
        content[:] = bytes(len(content))
    await _send(world, ts_ms)
    await _settled(world, process)
    counted = sum(row["n"] for shard in (0, 1) for row in world.shards.rows("m1", shard))
    await process.stop()
    return counted, len(names)


def test_a_corrupt_file_reopens_its_partition_and_loses_no_event():
    """The store holds the ids too: they are derived again, and every repeat is recognised."""
    loop = VirtualLoop()
    counted, files = run(
        loop, _play(World(loop, LONG_TTL, tuple(app.agents.values()), partitions=1))
    )
    assert files > 3, "no ids have moved to a file"
    assert counted == EVENTS
