"""A running worker on in-memory broker and shards, for tests of events during its life."""

from __future__ import annotations

import asyncio
import json

from agents.app import AGGREGATE_METRICS, MODEL_METRICS
from streams.connect.broker.partitioner import partition_of
from streams.core.types import TopicPartition
from streams.dev.simulation.history import SETTINGS
from streams.dev.simulation.loop import VirtualLoop, run
from streams.dev.simulation.world import World

PATIENCE_S = 300
HERE, THERE = (TopicPartition(MODEL_METRICS.name, number) for number in range(2))
TENANTS = [
    next(f"t{n}" for n in range(99) if partition_of(f"t{n}".encode(), 2) == number)
    for number in range(2)
]
"""One whose key belongs into each partition."""


def history(story, agents=(AGGREGATE_METRICS,), settings=SETTINGS):
    """Run ``story`` in a world with two partitions and one process that has joined."""
    loop = VirtualLoop()
    world = World(loop, settings, agents)

    async def whole():
        await world.create_topics()
        process = world.process(0)
        process.start()
        await asyncio.sleep(5.0)
        await story(world, process)
        assert process.failure is None
        await process.stop()

    run(loop, whole())
    return world


async def send(world, tp, count, tenant=None):
    """Append events of one tenant, by default the tenant whose key belongs to ``tp``; returns the
    range of their offsets.
    """
    first = world.broker.log(tp).high_watermark
    producer = world.broker.plain_producer()
    tenant = tenant or TENANTS[tp.partition]
    for number in range(first, first + count):
        event = {
            "tenant_id": tenant, "model_id": "m", "metric": "x", "event_id": f"{tp}{number}",
            "ts": world.clock.now_ms(), "value": 1.0,
        }  # fmt: skip
        await (await producer.send(tp.topic, tenant.encode(), json.dumps(event).encode()))
    return first, first + count


def held(process, tp):
    return next(g.partitions[tp] for g in process.worker.groups if tp in g.partitions)


async def until(condition):
    for _ in range(PATIENCE_S):
        if condition():
            return
        await asyncio.sleep(1.0)
    raise AssertionError(f"the condition is false after {PATIENCE_S} s")


def counted(world, tp):
    rows = world.shards.rows("m1")
    return sum(row["n"] for row in rows if row["tenant"] == TENANTS[tp.partition])
