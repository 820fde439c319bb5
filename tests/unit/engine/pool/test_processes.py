"""Life cycle of pool processes; `tests/contract/test_job_pool.py` uses real ones."""

from __future__ import annotations

import asyncio

import pytest

from streams.core.clock import VirtualClock, settle
from streams.core.errors import ProcessDied
from streams.core.job_refusals import SimulationTimeout
from streams.engine.pool import processes
from streams.engine.pool.pool_scale import DOWN_AFTER_S, UP_ABOVE
from streams.engine.pool.processes import ProcessPool

LIMIT_S = 30.0


class Process:
    """Answers a job with the job itself, unless the job must wait."""

    def __init__(self, pid):
        self.pid, self.jobs, self.alive, self.kills = pid, 0, True, 0

    async def run(self, job):
        self.jobs += 1
        if job == b"wait":
            await asyncio.Event().wait()
        return job

    async def kill(self):
        self.alive = False
        self.kills += 1


class Host:
    """Starts processes; ``fails``: errors of the next starts, or their durations in s."""

    def __init__(self, clock):
        self.clock, self.started, self.fails = clock, [], []

    async def start(self, entry, memory_bytes):
        assert (entry, memory_bytes) == ("jobs:perform", 1000)
        failure = self.fails.pop(0) if self.fails else None
        if isinstance(failure, Exception):
            raise failure
        if failure is not None:
            await self.clock.sleep(failure)
        self.started.append(Process(100 + len(self.started)))
        return self.started[-1]


@pytest.fixture
def clock():
    return VirtualClock()


@pytest.fixture
def host(clock, monkeypatch):
    made = Host(clock)
    monkeypatch.setattr(processes.PoolProcess, "start", made.start)
    return made


def pool_of(clock, size=1, recycle_jobs=100, least=None):
    return ProcessPool(
        "jobs:perform",
        size=size,
        recycle_jobs=recycle_jobs,
        memory_bytes=1000,
        clock=clock,
        least=least,
    )


async def test_a_process_starts_with_the_first_job_and_is_kept(clock, host):
    """A start costs about 1 s: workers without jobs do not pay it, and later jobs do not pay it
    again.
    """
    pool = pool_of(clock, size=2)
    assert (pool.size, pool.pids) == (2, [])
    for job in (b"a", b"b"):
        assert await pool.run(job, LIMIT_S) == job
    assert (len(host.started), pool.pids) == (1, [100])


async def test_the_pool_grows_while_many_wait_and_shrinks_without_stopping_a_job(clock, host):
    """Idle processes give their memory back; a running job keeps its process to its end."""
    pool = pool_of(clock, size=2, least=1)
    jobs = [asyncio.ensure_future(pool.run(b"wait", 1000.0)) for _ in range(2)]
    await settle()
    assert (pool.size, len(pool.pids)) == (1, 1)
    pool.told_waiting(UP_ABOVE + 1)
    await settle()
    assert (pool.size, len(pool.pids)) == (2, 2)
    pool.told_waiting(0)
    await clock.advance(DOWN_AFTER_S)
    pool.told_waiting(0)
    await settle()
    assert (pool.size, len(pool.pids)) == (1, 2)
    assert [process.kills for process in host.started] == [0, 0]
    jobs[0].cancel()
    await settle()
    assert len(pool.pids) == 1
    jobs[1].cancel()
    await settle()
    assert [process.kills for process in host.started] == [1, 1]


async def test_idle_processes_above_a_smaller_size_end_at_once(clock, host):
    """An idle process holds the memory of the last scenario."""
    pool = pool_of(clock, size=2, least=1)
    pool.told_waiting(UP_ABOVE + 1)
    await asyncio.gather(pool.run(b"a", LIMIT_S), pool.run(b"b", LIMIT_S))
    assert len(pool.pids) == 2
    pool.told_waiting(0)
    await clock.advance(DOWN_AFTER_S)
    pool.told_waiting(0)
    await settle()
    assert sorted(process.kills for process in host.started) == [0, 1]
    assert len(pool.pids) == 1


async def test_a_process_is_replaced_after_its_last_job(clock, host):
    """The replacement frees memory that scenarios leak."""
    pool = pool_of(clock, recycle_jobs=2)
    for _ in range(5):
        await pool.run(b"a", LIMIT_S)
    assert [(p.jobs, p.kills) for p in host.started] == [(2, 1), (2, 1), (1, 0)]


async def test_a_job_beyond_its_time_limit_ends_its_process(clock, host):
    """Running code cannot be interrupted otherwise; the next job gets a new process."""
    pool = pool_of(clock)
    job = asyncio.ensure_future(pool.run(b"wait", LIMIT_S))
    await settle()
    assert pool.pids == [100]
    await clock.advance(LIMIT_S + 1)
    with pytest.raises(SimulationTimeout, match="ran for 30 s, its limit"):
        await job
    assert pool.pids == []
    assert await pool.run(b"a", LIMIT_S) == b"a"
    assert [p.kills for p in host.started] == [1, 0]


async def test_dead_processes_are_skipped(clock, host):
    """The kernel may have killed an idle process."""
    pool = pool_of(clock)
    await pool.run(b"a", LIMIT_S)
    host.started[0].alive = False
    assert await pool.run(b"b", LIMIT_S) == b"b"
    assert [(p.jobs, p.kills) for p in host.started] == [(1, 1), (1, 0)]


@pytest.mark.parametrize(
    "failure", [ProcessDied("gone"), OSError("no pids")], ids=["died", "refused"]
)
async def test_a_start_is_tried_three_times(clock, host, failure):
    """A lack of memory may pass. If it does not, the job fails with its name."""
    host.fails = [failure] * 2
    pool = pool_of(clock)
    assert await pool.run(b"a", LIMIT_S) == b"a"
    host.started[0].alive = False
    host.fails = [failure] * 3
    with pytest.raises(ProcessDied, match="no pool process could be started"):
        await pool.run(b"b", LIMIT_S)
    assert host.fails == []
    assert await pool.run(b"c", LIMIT_S) == b"c"


async def test_a_start_that_hangs_is_given_up_after_a_minute(clock, host):
    """An import that waits for the network must not hold a slot of the pool."""
    host.fails = [61.0, 59.0]
    pool = pool_of(clock)
    job = asyncio.ensure_future(pool.run(b"a", LIMIT_S))
    await settle()
    await clock.advance(60.5)
    await settle()
    assert (host.started, host.fails, job.done()) == ([], [], False)
    await clock.advance(59.5)
    await settle()
    assert job.done()
    assert await job == b"a"
    assert len(host.started) == 1


async def test_a_closing_pool_kills_idle_and_busy_processes(clock, host):
    """A job that ends meanwhile leaves no process, and no process starts afterwards."""
    pool = pool_of(clock, size=2)
    await asyncio.gather(pool.run(b"a", LIMIT_S), pool.run(b"b", LIMIT_S))
    job = asyncio.ensure_future(pool.run(b"wait", LIMIT_S))
    await settle()
    assert sorted(pool.pids) == [100, 101]
    await pool.close()
    assert [p.kills for p in host.started] == [1, 1]
    job.cancel()
    await asyncio.gather(job, return_exceptions=True)
    assert pool.pids == []
    with pytest.raises(ProcessDied, match="the pool is closed"):
        await pool.run(b"c", LIMIT_S)
    assert len(host.started) == 2
