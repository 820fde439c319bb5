"""Simulations on the real stack: processes are killed, and every request is answered once."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from agents.app import app
from streams.connect.sinks.schema import servers
from tests.empty_topics import empty_topics
from tests.faults.simulation_trial import SimulationTrial

DATABASE = "simulated"


@pytest.fixture
async def trial(stack, tmp_path):
    opened = SimulationTrial(
        stack, tmp_path, pool_processes="2", clickhouse_database=DATABASE, kernels="off"
    )
    await empty_topics(opened.broker)
    await opened.open()
    yield opened
    opened.close()
    for server in servers(opened.settings, app.clickhouse_tables):
        server.replica.command(f"DROP DATABASE {DATABASE}")
        server.replica.close()


@pytest.mark.long
async def test_requests_survive_a_killed_worker_and_a_killed_pool_process(trial):
    """Each key has one committed run, each request one result, and repeats have the same."""
    first, second = trial.worker(0), trial.worker(1)
    await first.ready()
    await second.ready()
    feeding = asyncio.ensure_future(
        trial.feed(1500, rate_per_s=250, duplicates=0.3, conflicts=0.05, poison=0.02, trials=20_000)
    )
    await trial.until(lambda: bool(trial.pool_pids(first)))
    os.kill(trial.pool_pids(first)[0], signal.SIGKILL)
    await trial.answered(200)
    second.kill()
    trial.workers.remove(second)
    trial.worker(1)
    await feeding
    await trial.settled(200.0)
    results = await trial.check()
    assert {result["status"] for result in results.values()} == {"completed"}
    command = [sys.executable, "-m", "streams", "audit"]
    audited = await asyncio.to_thread(
        subprocess.run,
        command,
        env={**os.environ, **trial.environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert audited.returncode == 0, audited.stdout + audited.stderr
