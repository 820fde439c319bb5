"""A worker whose shard map differs from its predecessor's ends, by whichever check detects it
first."""

from __future__ import annotations

import asyncio
import json

import pytest

from agents.app import AGGREGATE_METRICS
from streams.connect.sinks.sharding import DirectorySharding, HashSharding, ShardMap
from streams.core.errors import ShardMapChanged
from streams.dev.simulation.history import SETTINGS
from streams.dev.simulation.loop import VirtualLoop, run
from streams.dev.simulation.world import World

OTHERS = [
    ShardMap(3, HashSharding(3)),
    ShardMap(1, HashSharding(1)),
    ShardMap(2, DirectorySharding({"t": 0}, HashSharding(2))),
]


async def _send(world, ts):
    producer = world.broker.plain_producer()
    for number in range(20):
        event = {"tenant_id": "t", "model_id": f"m{number}", "metric": "x", "ts": ts, "value": 1.0}
        await (await producer.send("model.metrics", b"t", json.dumps(event).encode()))


def _counts(world):
    return {(row["model"], row["inc"]): row["n"] for row in world.shards.m1_rows()}


def _leaves(error):
    inside = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    return [leaf for one in inside for leaf in _leaves(one)] or [error]


@pytest.mark.parametrize("away", [False, True], ids=["the servers say", "only the chain can tell"])
@pytest.mark.parametrize("other", OTHERS, ids=lambda other: other.identity.description)
def test_a_worker_with_another_shard_map_ends_and_writes_nothing(other, away):
    """With a third shard and open windows, 120 events would be shown as 153."""
    loop = VirtualLoop()
    world = World(loop, SETTINGS, [AGGREGATE_METRICS], partitions=1)

    async def main():
        await world.create_topics()
        first = world.process(0, "a")
        first.start()
        await asyncio.sleep(1)
        ts = world.clock.now_ms()
        await _send(world, ts)
        await asyncio.sleep(3)
        await first.stop()
        shown = _counts(world)
        assert len(shown) == 20  # provisional rows: the windows are open
        for faults in world.shards.faults:
            faults.down = away
        mistaken = world.process(0, "b", world.shards.with_map(other))
        mistaken.start()
        await _send(world, ts)
        for _ in range(60):
            await asyncio.sleep(1)
            if mistaken.failure is not None:
                break
        failure = mistaken.failure
        await mistaken.kill()
        assert {type(leaf) for leaf in _leaves(failure)} == {ShardMapChanged}
        assert "2 shards by hash" in str(_leaves(failure)[0])
        assert _counts(world) == shown

    run(loop, main())
