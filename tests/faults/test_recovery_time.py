"""The delay of a stream after a process is killed at half of the machine's maximal rate."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import pytest

from agents.app import MODEL_METRICS
from streams.engine.health.live_workers import live_workers
from tests.faults.trial import PATIENCE_S, POLL_S

PARTITIONS = MODEL_METRICS.partitions
SENT_AT_ONCE = 2_000_000
"""Some fifteen seconds of work: less would measure the first commits only."""
LOADED_S = 20
STEP_MS = 0.05
"""Three million events in less than three minutes of event time."""
SESSION_S = 6


async def owned(trial):
    """Wait until every partition is ready in one of the started workers: a feed that ends before
    puts no load on them."""
    (state,) = {worker.state for worker in trial.workers}
    deadline = time.monotonic() + PATIENCE_S
    while sum(len(told.partitions) for told in live_workers(state) if told.ready) < PARTITIONS:
        assert time.monotonic() < deadline, trial.workers[0].tail()
        await asyncio.sleep(POLL_S)


async def half_rate(trial):
    """Half of the started workers' maximal rate in events per second, measured while events are
    sent as fast as possible on the same machine; and that maximal rate."""
    await owned(trial)
    trial.feed(SENT_AT_ONCE, rate_per_s=None, step_ms=STEP_MS)
    await trial.until_read(SENT_AT_ONCE // 20)
    read, began = await trial.read(), time.monotonic()
    await trial.fed()
    rate = (await trial.read() - read) / (time.monotonic() - began)
    await trial.until_read(SENT_AT_ONCE)
    assert rate > 0, "all was read before it was measured"
    return int(rate / 2), int(rate)


async def under_half_load(trial):
    """Feed at half rate; return the description of the load once it is steady."""
    rate, most = await half_rate(trial)
    trial.feed(rate * LOADED_S, rate_per_s=rate)
    await asyncio.sleep(5.0)
    return f"{rate:,} events/s, where {most:,} were the most"


@pytest.mark.timeout(600)
async def test_recovery_with_the_supervisors_restart(trial, report):
    """A restarted process is the same static member: no other worker is rebalanced."""
    parent = trial.worker(processes=2)
    load = await under_half_load(trial)
    victim = trial.rng.choice(live_workers(parent.state))
    os.kill(victim.pid, signal.SIGKILL)
    await trial.recovered()
    note = f"{load}; `dia worker --processes 2`"
    report(await trial.exact("kill -9 of one of two, restarted by its supervisor", note=note))
    parent.send(signal.SIGTERM)
    assert await parent.ended() == 0, parent.tail()


@pytest.mark.timeout(600)
async def test_recovery_without_a_restart(trial, report):
    """The survivor takes over once the session of the dead worker has expired."""
    workers = [trial.worker(0), trial.worker(1)]
    load = await under_half_load(trial)
    workers[1].kill()
    await trial.recovered()
    note = f"{load}; session timeout {SESSION_S} s"
    report(await trial.exact("kill -9 of one of two, never restarted", note=note))
