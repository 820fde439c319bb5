"""A group member with refused fetches: network or coordinator errors do not end the worker."""

from __future__ import annotations

import asyncio
import json

import pytest

from agents.app import AGGREGATE_METRICS, MODEL_METRICS
from streams.core.errors import BrokerUnavailable
from streams.dev.simulation.history import SETTINGS
from streams.dev.simulation.loop import VirtualLoop, run
from streams.dev.simulation.world import World

EVENTS = 20
PATIENCE_S = 300.0


async def _through(world, refusals):
    """Process events while the next ``refusals`` fetches are refused; returns the counted events
    and whether the worker replaced its consumer.
    """
    await world.create_topics()
    process = world.process(0)
    process.start()
    await asyncio.sleep(5.0)
    for nth in range(1, refusals + 1):
        world.broker.faults.fail("fetch", BrokerUnavailable("scripted"), nth=nth)
    producer = world.broker.plain_producer()
    for number in range(EVENTS):
        event = {
            "tenant_id": "t", "model_id": "m", "metric": "x", "event_id": str(number),
            "ts": world.clock.now_ms(), "value": 1.0,
        }  # fmt: skip
        await (await producer.send(MODEL_METRICS.name, b"t", json.dumps(event).encode()))
    consumer = process.worker.groups[0]._consumer
    deadline = world.clock.monotonic() + PATIENCE_S
    while not (process.worker.settled and world.shards.rows("m1", 0) + world.shards.rows("m1", 1)):
        assert process.failure is None
        assert world.clock.monotonic() < deadline
        await asyncio.sleep(1.0)
    counted = sum(row["n"] for shard in (0, 1) for row in world.shards.rows("m1", shard))
    replaced = process.worker.groups[0]._consumer is not consumer
    await process.stop()
    return counted, replaced


@pytest.mark.parametrize(("refusals", "replaced"), [(1, False), (4, False), (12, True)])
def test_refused_fetches_end_no_worker_and_lose_nothing(refusals, replaced):
    """A consumer whose fetches stay refused is replaced: its client does not recover by itself."""
    loop = VirtualLoop()
    assert run(loop, _through(World(loop, SETTINGS, (AGGREGATE_METRICS,)), refusals)) == (
        EVENTS,
        replaced,
    )
