"""Twenty thousand requests while the policy service fails and processes die."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from streams.connect.policy.stub import StubPolicyService
from tests.faults.simulation_trial import TENANTS, SimulationTrial, policies

REQUESTS = 20_000
OUTAGE_S = 20.0
POLICIES = [f"policy-{number:02d}" for number in range(40)]
"""For every tenant: more policies than the cache loads before the outage."""


@pytest.fixture
async def stub():
    async with StubPolicyService() as service:
        service.policies += policies(POLICIES)
        yield service


@pytest.fixture
async def trial(own_stack, tmp_path, stub):
    opened = SimulationTrial(own_stack, tmp_path, pool_processes="1", policy_url=stub.url)
    await opened.open()
    yield opened
    opened.close()


@pytest.mark.once
@pytest.mark.timeout(600)
async def test_every_request_is_answered_once_through_outages_and_deaths(trial, stub, seed):
    """30 % repeats, 5 % conflicts, 2 % poison; a worker and pool processes killed; 20 s without
    policies."""
    first, second = trial.worker(0), trial.worker(1)
    await first.ready()
    await second.ready()
    await trial.feed(
        REQUESTS,
        seed=seed,
        tenants=TENANTS,
        duplicates=0.3,
        conflicts=0.05,
        poison=0.02,
        policies=POLICIES,
        trials=2000,
    )
    await trial.answered(REQUESTS // 20, 120.0)
    for worker in (first, second):
        os.kill(trial.pool_pids(worker)[0], signal.SIGKILL)
    stub.down = True
    await asyncio.sleep(OUTAGE_S)
    stub.down = False
    second.kill()
    trial.workers.remove(second)
    trial.worker(1)
    await trial.settled(420.0)
    results = await trial.check()
    assert {result["status"] for result in results.values()} == {"completed"}


@pytest.mark.once
@pytest.mark.timeout(300)
async def test_under_full_load_high_priority_waits_a_third_and_the_rest_still_moves(trial, seed):
    """Priorities matter when more is requested than one process can do. High priority gets three of
    four starts: on average, 530 of 4000 start before one of high priority, and 2360 before another.
    """
    await trial.feed(
        4000, seed=seed, tenants=TENANTS, high=0.2, trials=20_000, duplicates=0.0, conflicts=0.0
    )
    trial.worker(0)
    await trial.settled(200.0)
    high, normal = trial.earlier_starts(await trial.check())
    assert high <= normal / 3, (high, normal)
