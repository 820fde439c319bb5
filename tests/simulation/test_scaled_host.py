"""Worker processes of a host come and go under a stepped load, each with its drain and its rebalance."""

from __future__ import annotations

import asyncio
import json
import random

from agents.app import AGGREGATE_METRICS, DIA_GROUP, MODEL_METRICS
from streams.core.settings import Settings
from streams.dev.simulation.checks.witness import Witness
from streams.dev.simulation.loop import VirtualLoop, run
from streams.dev.simulation.world import World
from streams.engine.runtime.process_scale import HostLoad, ProcessScale

STEPS = ((4, 5), (26, 35), (42, 3))
"""seconds, events a second"""
HELD_PER_S = 10
"""events a second that use a whole processor"""
QUIET_S = 130


async def send_events(world, rng, sent, count):
    producer = world.broker.plain_producer()
    for _ in range(count):
        value = float(rng.randrange(100))
        tenant = f"t{rng.randrange(12)}"
        sent.append(value)
        event = {
            "event_id": f"e{len(sent)}",
            "tenant_id": tenant,
            "model_id": "m",
            "metric": "x",
            "ts": world.clock.now_ms(),
            "value": value,
        }
        await producer.send(MODEL_METRICS.name, tenant.encode(), json.dumps(event).encode())


async def _story(world, sizes, sent):
    rng, scale = random.Random(7), ProcessScale(1, 4, up_s=5.0, down_s=10.0)
    witness = Witness(world, MODEL_METRICS, DIA_GROUP)
    await world.create_topics()
    processes = [world.process(0)]
    processes[0].start()
    for seconds, per_s in STEPS:
        for _ in range(seconds):
            await send_events(world, rng, sent, per_s)
            await asyncio.sleep(1.0)
            witness.look()
            decision = scale.step(HostLoad(0.0, per_s / HELD_PER_S), world.clock.monotonic())
            if decision is None:
                continue
            sizes.append(decision.after)
            if decision.after > decision.before:
                processes.append(world.process(decision.before))
                processes[-1].start()
            else:
                await processes.pop().stop()
    await asyncio.sleep(QUIET_S)
    witness.look(over=True)
    owned = [len(group.partitions) for one in processes for group in one.worker.groups]
    for process in processes:
        await process.stop()
    return owned


def test_each_event_counts_once_and_in_order_while_processes_come_and_go():
    """The witness compares each commit with the one before it: none is missing, none comes again."""
    world = World(VirtualLoop(), Settings(leave_group=1), [AGGREGATE_METRICS], partitions=4)
    sizes: list[int] = []
    sent: list[float] = []
    owned = run(world.loop, _story(world, sizes, sent))
    assert sizes == [2, 3, 4, 3, 2, 1]
    assert owned == [4]
    rows = world.shards.m1_rows()
    assert (sum(row["n"] for row in rows), sum(row["s1"] for row in rows)) == (
        len(sent),
        sum(sent),
    )
