"""The contract of job pools, and what only real processes show."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from streams.core.clock import SystemClock, settle
from streams.core.errors import ProcessDied
from streams.core.job_refusals import SimulationFailed, SimulationMemory, SimulationTimeout
from streams.engine.pool.inline import InlinePool
from streams.engine.pool.processes import ProcessPool

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
DEADLINE_S = 60.0
CAP_BYTES = 256 << 20


def real(**changes):
    options = {"size": 2, "recycle_jobs": 1000, "memory_bytes": CAP_BYTES, **changes}
    return ProcessPool("pool_jobs:perform", clock=SystemClock(), **options)


def inline(size=2):
    from pool_jobs import perform

    def takes_s(job):
        verb, _, rest = job.decode().partition(" ")
        if verb == "die":
            raise ProcessDied("as asked")
        return float(rest) if verb == "spin" else 0.0

    return InlinePool(perform, size=size, clock=SystemClock(), takes_s=takes_s)


def ended(pid):
    """Wait until the process is gone or a zombie that was not reaped."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        while process.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)


@pytest.fixture(autouse=True)
def jobs_importable(monkeypatch):
    """Importable in this process and in the pool's."""
    monkeypatch.syspath_prepend(str(FOLDER))
    path = os.pathsep.join(filter(None, [str(FOLDER), os.environ.get("PYTHONPATH"), str(ROOT)]))
    monkeypatch.setenv("PYTHONPATH", path)


@pytest.fixture(params=["inline", "processes"])
async def pool(request, monkeypatch):
    if request.param == "inline":
        monkeypatch.setenv("POOL_INLINE", "1")
    made = inline() if request.param == "inline" else real()
    yield made
    await made.close()


@pytest.fixture
async def processes():
    made = real()
    yield made
    await made.close()


async def test_each_job_gets_its_own_answer(pool):
    """Answers must not be swapped, however many jobs wait."""
    jobs = [f"echo {number}".encode() for number in range(20)]
    answers = await asyncio.gather(*(pool.run(job, DEADLINE_S) for job in jobs))
    assert answers == [str(number).encode() for number in range(20)]


@pytest.mark.parametrize(
    ("job", "error"),
    [
        (b"raise a fit", SimulationFailed),
        (b"spin 30", SimulationTimeout),
        (b"memory 2000000000", SimulationMemory),
        (b"die", ProcessDied),
    ],
)
async def test_each_failure_has_its_error_and_the_next_job_runs(pool, job, error):
    """One bad job must not fail another."""
    with pytest.raises(error):
        await pool.run(job, 0.3 if job.startswith(b"spin") else DEADLINE_S)
    assert await pool.run(b"echo next", DEADLINE_S) == b"next"


async def test_a_cancelled_job_frees_its_place(pool):
    """Otherwise a cancelled request would occupy a process for its whole duration."""
    tasks = [asyncio.ensure_future(pool.run(b"spin 30", DEADLINE_S)) for _ in range(pool.size)]
    done, _ = await asyncio.wait(tasks, timeout=0.3)
    assert not done
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert await asyncio.wait_for(pool.run(b"echo next", DEADLINE_S), 200) == b"next"


async def test_a_closed_pool_refuses_jobs(pool):
    """A late caller must get an error instead of waiting endlessly."""
    await pool.close()
    with pytest.raises(ProcessDied):
        await pool.run(b"echo x", DEADLINE_S)


async def test_a_process_killed_from_outside_fails_its_own_job_only(processes):
    """The kernel's OOM killer or an operator kills one process; the jobs of the others go on."""
    pid = int(await processes.run(b"pid", DEADLINE_S))
    doomed = asyncio.ensure_future(processes.run(b"spin 30", DEADLINE_S))
    spared = asyncio.ensure_future(processes.run(b"spin 0.5", DEADLINE_S))
    await settle()
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(ProcessDied, match=str(pid)):
        await doomed
    assert await spared == b"0.5"


async def test_an_idle_process_that_was_killed_gets_no_job(processes):
    """No job waits for the idle process, so its death is noticed only at the next job."""
    pid = int(await processes.run(b"pid", DEADLINE_S))
    os.kill(pid, signal.SIGKILL)
    await asyncio.to_thread(ended, pid)
    for _ in range(3):
        try:
            assert int(await processes.run(b"pid", DEADLINE_S)) != pid
        except ProcessDied:
            continue  # it died before the event loop noticed: the job may run again
        return
    pytest.fail("every attempt went to the dead process")


async def test_a_process_is_replaced_after_its_maximum_of_jobs():
    """This bounds what a leak can accumulate."""
    pool = real(size=1, recycle_jobs=3)
    pids = [await pool.run(b"pid", DEADLINE_S) for _ in range(7)]
    await pool.close()
    assert [len(set(pids[:3])), len(set(pids[3:6])), len(set(pids))] == [1, 1, 3]


async def test_output_of_a_job_does_not_reach_the_answers(processes):
    """A print in a plug-in must not corrupt the protocol between the processes."""
    assert await processes.run(b"print hello", DEADLINE_S) == b"hello"
    assert await processes.run(b"echo x", DEADLINE_S) == b"x"


async def test_no_process_outlives_its_pool(processes):
    """Neither an idle process nor a busy one."""
    await processes.run(b"echo x", DEADLINE_S)
    task = asyncio.ensure_future(processes.run(b"spin 30", DEADLINE_S))
    await settle()
    pids = processes.pids
    assert pids
    await processes.close()
    with pytest.raises(ProcessDied):
        await task
    assert not [pid for pid in pids if psutil.pid_exists(pid)]


async def test_a_pool_that_cannot_start_raises():
    """A missing module must not look like a slow job."""
    pool = ProcessPool(
        "nowhere:nothing", size=1, recycle_jobs=1, memory_bytes=CAP_BYTES, clock=SystemClock()
    )
    with pytest.raises(ProcessDied, match="no pool process could be started"):
        await pool.run(b"x", DEADLINE_S)
    await pool.close()
