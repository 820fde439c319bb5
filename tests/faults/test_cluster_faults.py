"""Three brokers, three replicas: coordinators and leaders die, stall, lag or lose their disk."""

from __future__ import annotations

import asyncio

import pytest

from agents.app import DIA_GROUP, MODEL_METRICS
from streams.dev.local.stack import restart_service
from tests.faults.services import absent

pytestmark = pytest.mark.timeout(400)

EVENTS = 60_000
RATE_PER_S = 3000
STALL_S = 14.0
"""Seconds; longer than the sessions of a broker and of a worker, so both expire."""


@pytest.fixture
async def loaded(cluster_trial):
    """Two workers process events while more are produced."""
    workers = [cluster_trial.worker(0), cluster_trial.worker(1)]
    await workers[0].ready()
    cluster_trial.feed(EVENTS, rate_per_s=RATE_PER_S)
    await asyncio.sleep(cluster_trial.rng.uniform(0.5, 2.0))
    yield cluster_trial
    assert [worker.exit_code for worker in workers] == [None, None]


async def test_every_topic_has_three_replicas(loaded, cluster):
    """A topic with one replica would have no leader after the loss of that broker's disk."""
    assert await cluster.replicas() == {3}


async def _judged(trial, cluster, fault: str, note: str = ""):
    await trial.recovered()
    finding = await trial.exact(f"3 brokers: {fault}", note)
    await cluster.until_in_sync()
    return finding


async def test_the_groups_coordinator_killed(loaded, cluster, report):
    """Its successor loads the offsets first: until then the answer is unknown, not zero."""
    for _ in range(2):
        name = await cluster.coordinator_of(DIA_GROUP)
        await asyncio.to_thread(restart_service, cluster.stack.home, name)
        await asyncio.sleep(loaded.rng.uniform(0.5, 2.0))
    report(await _judged(loaded, cluster, "coordinator kill -9, twice"))


async def test_a_leader_killed(loaded, cluster, report):
    """Acknowledged records are on another broker; the others are in doubt."""
    for number in range(2):
        name = await cluster.leader_of(MODEL_METRICS.changelog(DIA_GROUP), number)
        await asyncio.to_thread(restart_service, cluster.stack.home, name)
    report(await _judged(loaded, cluster, "leader of a changelog kill -9, twice"))


async def test_each_broker_stalls(loaded, cluster, report):
    """A suspended process keeps its connections open and answers nothing."""
    for name in cluster.brokers:
        with cluster.stopped(name):
            await asyncio.sleep(STALL_S)
        await asyncio.sleep(3.0)
    report(
        await _judged(loaded, cluster, f"each broker stalls for {STALL_S:g} s, one after another")
    )


async def test_a_leader_cut_from_its_peers(loaded, cluster, report):
    """Clients still reach the deposed leader, which must neither acknowledge nor return records."""
    name = await cluster.leader_of(MODEL_METRICS.name, 0)
    with cluster.cut_from_peers(name):
        await asyncio.sleep(20.0)
    report(await _judged(loaded, cluster, "leader cut from its peers for 20 s"))


async def test_a_broker_cut_from_clients(loaded, cluster, report):
    """For the cluster it stays leader while no worker reaches it: processing waits and loses
    nothing."""
    name = await cluster.coordinator_of(DIA_GROUP)
    with cluster.cut_from_clients(name):
        await asyncio.sleep(20.0)
    report(await _judged(loaded, cluster, "coordinator cut from clients for 20 s"))


async def test_a_rolling_restart(loaded, cluster, report):
    """As in an upgrade: every broker stops in order and hands its leaders over."""
    for name in cluster.brokers:
        await asyncio.to_thread(restart_service, cluster.stack.home, name, kill=False)
        await cluster.until_in_sync()
    report(await _judged(loaded, cluster, "rolling restart"))


async def test_quotas(loaded, cluster, report):
    """A throttled answer is empty and late; it must neither end a read nor stop a partition."""
    throttled = cluster.quota(400_000)
    await asyncio.to_thread(throttled.__enter__)
    try:
        late = loaded.worker(2, state="throttled")
        await late.ready(120.0)
        await asyncio.sleep(10.0)
    finally:
        await asyncio.to_thread(throttled.__exit__, None, None, None)
    report(await _judged(loaded, cluster, "quota of 400 kB/s for every client"))


async def test_fewer_replicas_than_a_record_needs(loaded, cluster, report):
    """With one of three replicas in sync, writes are refused: commits wait until a second one is
    back."""
    away = absent(cluster.stack.home, *cluster.brokers[1:])
    await asyncio.to_thread(away.__enter__)
    try:
        await asyncio.sleep(10.0)
    finally:
        await asyncio.to_thread(away.__exit__, None, None, None)
    report(await _judged(loaded, cluster, "two brokers away for 10 s"))


async def test_a_broker_that_lost_its_disk(loaded, cluster, report):
    """It starts empty and copies everything; it must not lead before that."""
    name = await cluster.leader_of(MODEL_METRICS.changelog(DIA_GROUP), 0)
    lost = cluster.without_disk(name)
    await asyncio.to_thread(lost.__enter__)
    await asyncio.sleep(2.0)
    await asyncio.to_thread(lost.__exit__, None, None, None)
    report(await _judged(loaded, cluster, "a broker's disk lost"))
