"""Pods of the chart come and go under a stepped lag, several at once: autoscaling/v2 decides by the rendered
manifests (`PodAutoscaler`), and each pod is a worker that drains, leaves and rebalances."""

from __future__ import annotations

import asyncio
import random

from agents.app import AGGREGATE_METRICS, DIA_GROUP, MODEL_METRICS
from streams.core.settings import Settings
from streams.dev.simulation.checks.witness import Witness
from streams.dev.simulation.loop import VirtualLoop, run
from streams.dev.simulation.world import World
from tests.faults.pods.pod_autoscaler import PodAutoscaler
from tests.simulation.test_scaled_host import send_events
from tests.unit.ops.chart import environment, kind, pods, render, values

AUTOSCALING = {
    "by": "lag",
    "behavior": {
        "scaleUp": {"stabilizationWindowSeconds": 10},
        "scaleDown": {"stabilizationWindowSeconds": 30},
    },
}
"""Short windows, and the chart's policies: 100 % in 30 s up, 50 % in 60 s down."""
SYNC_S = 5
STEPS = ((15, 0.0), (95, 200.0), (100, 0.0))
"""seconds, seconds behind"""
PER_S = 2
QUIET_S = 130
PARTITIONS = 12


async def _story(world, autoscaler, sent):
    rng = random.Random(11)
    witness = Witness(world, MODEL_METRICS, DIA_GROUP)
    await world.create_topics()
    running = [world.process(ordinal) for ordinal in range(autoscaler.least)]
    for pod in running:
        pod.start()
    now_s = 0
    for seconds, behind_s in STEPS:
        for _ in range(seconds):
            await send_events(world, rng, sent, PER_S)
            await asyncio.sleep(1.0)
            witness.look()
            now_s += 1
            if now_s % SYNC_S:
                continue
            wanted = autoscaler.decide(now_s, len(running), [behind_s])
            for ordinal in range(len(running), wanted):
                running.append(world.process(ordinal))
                running[-1].start()
            ended, running = running[wanted:], running[:wanted]
            await asyncio.gather(*(pod.stop() for pod in ended))
    await asyncio.sleep(QUIET_S)
    witness.look(over=True)
    owned = [len(group.partitions) for pod in running for group in pod.worker.groups]
    for pod in running:
        await pod.stop()
    return owned


def test_each_event_counts_once_and_in_order_while_pods_come_and_go():
    """Kubernetes starts and ends several pods at once, so that one rebalance meets another; the witness
    compares each commit with the one before it."""
    documents = render({**values("plain"), "autoscaling": AUTOSCALING})
    [scaled], [workers] = kind(documents, "ScaledObject"), pods(kind(documents, "StatefulSet"))
    leaves = int(environment(workers)["DIA_LEAVE_GROUP"])
    autoscaler = PodAutoscaler.of(scaled)
    settings = Settings(leave_group=leaves)
    world = World(VirtualLoop(), settings, [AGGREGATE_METRICS], partitions=PARTITIONS)
    sent: list[float] = []
    owned = run(world.loop, _story(world, autoscaler, sent))
    sizes = [(one.before, one.after) for one in autoscaler.changes]
    assert sizes == [(3, 6), (6, 10), (10, 5), (5, 3)]
    assert sum(owned) == PARTITIONS
    assert min(owned) > 0
    rows = world.shards.m1_rows()
    assert (sum(row["n"] for row in rows), sum(row["s1"] for row in rows)) == (
        len(sent),
        sum(sent),
    )
