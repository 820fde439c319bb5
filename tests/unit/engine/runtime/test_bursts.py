"""Batches in which every event opens a window, several of them between two checks of the clock."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

from agents.app import AGGREGATE_METRICS, MODEL_METRICS
from streams.dev.simulation.history import SETTINGS
from streams.dev.simulation.loop import VirtualLoop, run
from streams.dev.simulation.world import World

EVENTS = 4_000
TIGHT = replace(SETTINGS, max_live_windows=1000, fetch_max_records=900, emit_rows_max=100)
PATIENCE_S = 3600.0


async def _burst(world):
    """A full topic in which every event opens a window; returns the number of counted events."""
    await world.create_topics()
    producer = world.broker.plain_producer()
    for number in range(EVENTS):
        event = {
            "tenant_id": "t", "model_id": f"m{number}", "metric": "x", "event_id": str(number),
            "ts": world.clock.now_ms(), "value": 1.0,
        }  # fmt: skip
        await (await producer.send(MODEL_METRICS.name, b"t", json.dumps(event).encode()))
    process = world.process(0)
    process.start()
    deadline = world.clock.monotonic() + PATIENCE_S
    stopped = set()
    while not (process.worker.settled or stopped):
        assert process.failure is None
        assert world.clock.monotonic() < deadline
        held = [p for g in process.worker.groups for p in g.partitions.values()]
        stopped = {p.stopped_by.code for p in held if p.stopped_by is not None}
        await asyncio.sleep(1.0)
    counted = sum(row["n"] for shard in (0, 1) for row in world.shards.rows("m1", shard))
    await process.stop()
    return counted, stopped


def test_a_burst_of_new_windows_pauses_a_partition_and_never_stops_it():
    """The partition checks the pause bound before it reaches the stop bound."""
    loop = VirtualLoop()
    assert run(loop, _burst(World(loop, TIGHT, (AGGREGATE_METRICS,), partitions=1))) == (
        EVENTS,
        set(),
    )
