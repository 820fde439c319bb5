"""A real process of the pool: its session, an interrupted start, and answers at the bound."""

from __future__ import annotations

import asyncio
import os
from base64 import b64encode

import pytest

from streams.core.job_refusals import SimulationFailed
from streams.engine.pool import worker_process
from streams.engine.pool.worker_process import PoolProcess

ENTRY = "base64:b64encode"
MEMORY_BYTES = 256 << 20
JOB = b"a job of some bytes"


@pytest.fixture
async def worker():
    started = await PoolProcess.start(ENTRY, MEMORY_BYTES)
    yield started
    await started.kill()


async def test_ctrl_c_of_the_worker_does_not_reach_a_job(worker):
    """A terminal signals the whole foreground group; the worker first lets its jobs end."""
    assert os.getsid(worker.pid) == worker.pid != os.getsid(0)


async def test_an_answer_may_have_the_bounds_size_and_no_more(worker, monkeypatch):
    """The parent reads an answer into its own memory, which all partitions share."""
    answer = b64encode(JOB)
    monkeypatch.setattr(worker_process, "FRAME_MAX_BYTES", len(answer))
    assert await worker.run(JOB) == answer
    monkeypatch.setattr(worker_process, "FRAME_MAX_BYTES", len(answer) - 1)
    with pytest.raises(
        SimulationFailed, match=f"has {len(answer)} bytes, at most {len(answer) - 1}"
    ):
        await worker.run(JOB)


async def test_an_interrupted_start_leaves_no_process(monkeypatch):
    """A start that takes too long is given up and tried again: what is left behind adds up."""
    made, reading = [], asyncio.Event()

    async def never(self):
        made.append(self)
        reading.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(PoolProcess, "_read", never)
    start = asyncio.create_task(PoolProcess.start(ENTRY, MEMORY_BYTES))
    await reading.wait()
    start.cancel()
    await asyncio.gather(start, return_exceptions=True)
    assert [worker.alive for worker in made] == [False]
