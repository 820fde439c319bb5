"""Under steady traffic, the changelog that a restore reads stays proportional to the live state."""

from __future__ import annotations

import asyncio
import json
import random

from agents.app import AGGREGATE_METRICS, DIA_GROUP, MODEL_METRICS
from streams.core.settings import Settings
from streams.core.types import TopicPartition
from streams.dev.simulation.loop import VirtualLoop, run
from streams.dev.simulation.world import World

SETTINGS = Settings(dedupe_ttl_s=300, changelog_slack_bytes=64 << 10)
"""Ids live for five minutes, so most of the traffic runs in a steady state."""

TRAFFIC_S = 900
EVENTS_PER_S = 10
SERIES = 200
TP = TopicPartition(MODEL_METRICS.name, 0)
CHANGELOG = TopicPartition(MODEL_METRICS.changelog(DIA_GROUP), 0)


async def one_second(world, producer, rng, second):
    """The events of one second, in order."""
    for number in range(EVENTS_PER_S):
        event = {
            "event_id": f"{second}-{number}",
            "tenant_id": "t",
            "model_id": f"m{rng.randrange(SERIES)}",
            "metric": "x",
            "ts": world.clock.now_ms(),
            "value": rng.random(),
        }
        await producer.send(TP.topic, b"t", json.dumps(event).encode())


def held(process):
    """The state of the one partition."""
    group = next(g for g in process.worker.groups if g.group == DIA_GROUP)
    partition = group.partitions[TP].partition
    assert partition is not None
    return partition.state


def log_bytes(world):
    """The bytes that a full restore would read."""
    log = world.broker.log(CHANGELOG)
    batch = log.read_committed(log.start_offset, 1 << 30)
    return sum(len(value) for value in batch.values)


async def traffic(world, seen):
    """Send `TRAFFIC_S` of traffic; ``seen`` gets (log bytes, live bytes) of each minute. Returns
    all bytes ever written to the changelog."""
    rng = random.Random(4)
    await world.create_topics()
    process = world.process(0)
    process.start()
    producer = world.broker.plain_producer()
    for second in range(TRAFFIC_S):
        await one_second(world, producer, rng, second)
        await asyncio.sleep(1.0)
        if second % 60 == 59:
            seen.append((log_bytes(world), held(process).live.live_bytes))
    written_bytes = held(process).live.written_bytes
    await process.stop()
    return written_bytes


def test_a_restore_reads_the_live_state_and_not_the_history():
    """A log that grows with history makes every restart slower than the one before."""
    loop = VirtualLoop()
    world = World(loop, SETTINGS, [AGGREGATE_METRICS], partitions=1)
    seen: list[tuple[int, int]] = []
    written_bytes = run(loop, traffic(world, seen))
    # Otherwise no entry was rewritten and nothing trimmed.
    assert written_bytes > 2 * max(log for log, _ in seen)
    for log, live in seen:
        assert log < 3 * live + SETTINGS.changelog_slack_bytes
