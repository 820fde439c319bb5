"""The last of three tiers: pods of the chart follow a stepped load, by what Prometheus reads of them.

Real are the chart's manifests, Prometheus, the worker processes and their stack; `PodAutoscaler` and `PodSet`
stand in for KEDA, Kubernetes' controllers and a kubelet.
"""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.faults.pods.pod_autoscaler import PodAutoscaler
from tests.faults.pods.pod_set import PodSet
from tests.faults.pods.prometheus_server import PrometheusServer
from tests.unit.ops.chart import kind, render, values

STEP_MS = 0.1
BACKLOG = 800_000
"""events that wait when the first pods start: ten seconds of work or more for three without kernels"""
CALM_PER_S = 500
CALM_S = 120
"""longer than both steps down take"""
SYNC_S = 1.0
AUTOSCALING = {
    "by": "lag",
    "lag": {"seconds": 2},
    "behavior": {
        "scaleUp": {"stabilizationWindowSeconds": 3},
        "scaleDown": {"stabilizationWindowSeconds": 10},
    },
}
"""Short times, and the chart's policies: 100 % in 30 s up, 50 % in 60 s down."""


@pytest.fixture
def manifests():
    """The ScaledObject and the StatefulSet of the agent that counts metrics."""
    groups = {"metrics": {"agents": "aggregate_metrics"}}
    documents = render({**values("plain"), "groups": groups, "autoscaling": AUTOSCALING})
    [scaled], [stateful] = kind(documents, "ScaledObject"), kind(documents, "StatefulSet")
    assert scaled["spec"]["scaleTargetRef"]["name"] == stateful["metadata"]["name"]
    return scaled, stateful


@pytest.fixture
def prometheus(tmp_path):
    server = PrometheusServer(tmp_path / "prometheus")
    yield server
    server.close()


@pytest.mark.once
@pytest.mark.timeout(900)
async def test_pods_follow_the_load(trial, report, prometheus, manifests):
    """A partition that moves between pods must lose, double and reorder nothing, whatever Kubernetes starts and
    ends; a number that stays low leaves the backlog, one that stays high costs for nothing."""
    scaled, stateful = manifests
    [query] = [one["metadata"]["query"] for one in scaled["spec"]["triggers"]]
    autoscaler, pods = PodAutoscaler.of(scaled), PodSet(trial, stateful, kernels="off")
    trial.feed(BACKLOG, rate_per_s=None, step_ms=STEP_MS)
    await trial.fed()
    pods.scale(autoscaler.least)

    async def follow(holds) -> None:
        deadline_s = time.monotonic() + 400
        while not holds():
            assert time.monotonic() < deadline_s, f"{autoscaler.changes}, {pods.ports()}"
            pods.reconcile()
            prometheus.targets(pods.ports())
            behind_s = await asyncio.to_thread(prometheus.answer, query)
            wanted = autoscaler.decide(time.monotonic(), pods.replicas, [behind_s])
            if wanted != pods.replicas:
                pods.scale(wanted)
            await asyncio.sleep(SYNC_S)

    await follow(lambda: pods.replicas > autoscaler.least)
    trial.feed(CALM_PER_S * CALM_S, rate_per_s=CALM_PER_S, step_ms=STEP_MS)
    await follow(lambda: pods.replicas == autoscaler.least and pods.settled)
    sizes = [(one.before, one.after) for one in autoscaler.changes]
    note = f"{', '.join(f'{before} to {after}' for before, after in sizes)} pods"
    report(await trial.exact("stepped load, pods of the chart follow it", note=note))
    assert sizes[0][0] == sizes[-1][1] == 3
    assert max(after for _, after in sizes) > 3
    assert set(pods.exits) == {0}
