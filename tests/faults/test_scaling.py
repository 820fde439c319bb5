"""The first two of three tiers follow a stepped load: processes of a pool, and worker processes of a host.
The third, pods, follows in the simulation (`test_scaled_pods`), and joins and leaves as in `test_rebalances`."""

from __future__ import annotations

import json
import signal

import pytest

from streams.engine.health.host_scaling import host_scaling
from streams.engine.health.live_workers import live_workers
from tests.faults.simulation_trial import TENANTS, SimulationTrial
from tests.faults.test_recovery_time import owned

STEP_MS = 0.1
BACKLOG = 800_000
"""events that wait when the first process starts: ten seconds of work or more for three processes without kernels"""
CALM_PER_S = 500
CALM_S = 30
REQUESTS = 4000
"""some of one worker's partitions wait a thousand at once"""


def _processes(parent):
    found = host_scaling(parent.state)
    return None if found is None else found.processes


def _sizes(changes):
    return [(one.before, one.after) for one in changes]


@pytest.mark.once
@pytest.mark.timeout(600)
async def test_worker_processes_of_a_host_follow_the_load(trial, report):
    """A partition that moves between processes must lose, double and reorder nothing; a number that stays
    low leaves the backlog, one that stays high costs for nothing."""
    trial.feed(BACKLOG, rate_per_s=None, step_ms=STEP_MS)
    await trial.fed()
    parent = trial.worker(processes=3, processes_min=1, scale_up_s=2, scale_down_s=6, kernels="off")
    await trial.until(lambda: _processes(parent) == 3)
    await trial.until(lambda: len(live_workers(parent.state)) == 3)
    await owned(trial)
    trial.feed(CALM_PER_S * CALM_S, rate_per_s=CALM_PER_S, step_ms=STEP_MS)
    await trial.fed()
    await trial.until(lambda: _processes(parent) == 1)
    note = "1 to 3 processes and back; `dia worker --processes 3 --processes-min 1`"
    report(await trial.exact("stepped load, worker processes follow it", note=note))
    told = host_scaling(parent.state)
    assert told is not None
    assert _sizes(told.changes[:2]) == [(1, 2), (2, 3)]
    assert _sizes(told.changes[-2:]) == [(3, 2), (2, 1)]
    assert parent.said("processes_scaled") == len(told.changes)
    parent.send(signal.SIGTERM)
    assert await parent.ended() == 0, parent.tail()


@pytest.fixture
async def simulations(own_stack, tmp_path):
    opened = SimulationTrial(own_stack, tmp_path, pool_processes="4", pool_processes_min="2")
    await opened.open()
    yield opened
    opened.close()


@pytest.mark.once
@pytest.mark.timeout(900)
async def test_processes_of_a_pool_follow_the_requests_that_wait(simulations, seed):
    """Each request has one result, whichever process computes it, and the pool is as small again as
    before."""
    worker = simulations.worker(0)
    await worker.ready()
    shape = {
        "tenants": TENANTS,
        "duplicates": 0.0,
        "conflicts": 0.0,
        "poison": 0.0,
        "trials": 20_000,
    }
    await simulations.feed(REQUESTS, seed=seed, **shape)
    await simulations.settled(400.0)
    results = await simulations.check()
    assert len(results) == REQUESTS
    await simulations.until(lambda: _pool(worker)[-1:] == [(3, 2)], 300.0)
    changes = _pool(worker)
    assert changes[:2] == [(2, 3), (3, 4)]
    assert all(abs(after - before) == 1 for before, after in changes)
    assert len(simulations.pool_pids(worker)) <= 2


def _pool(worker):
    """The changes that the log tells."""
    lines = worker.log.read_text(errors="replace").splitlines()
    told = [json.loads(line) for line in lines if '"pool_scaled"' in line]
    return [(one["before"], one["processes"]) for one in told]
