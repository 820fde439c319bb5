"""One tenant's share of the job pool, and its report to the edges."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from streams.connect.access.holds import HOLD_MAX_S, MemoryHolds
from streams.core.clock import VirtualClock, settle
from streams.engine.runtime.jobs.tenant_work import GUESS_S, PERIOD_S, TenantWork
from tests.unit.engine.runtime.job_desk import SETTINGS, Desk

jobs = st.lists(
    st.tuples(st.sampled_from("ab"), st.floats(0, 20), st.sampled_from([0.0, 0.5, 10.0, 70.0])),
    max_size=40,
)


@given(jobs, st.integers(1, 50))
def test_a_tenant_that_waits_as_told_stays_within_its_quota(given_jobs, quota_s):
    """In any span, the finished work of a tenant is at most its quota for the span, plus one period
    and one job.
    """

    async def run():
        clock, taken = VirtualClock(), []
        work = TenantWork(clock, quota_s)
        for tenant, pool_s, pause_s in given_jobs:
            await clock.advance(pause_s)
            if work.wait_s(tenant) == 0:
                work.ended(tenant, pool_s)
                taken.append((clock.monotonic(), tenant, pool_s))
        for start, tenant, _ in taken:
            within = [found for found in taken if found[1] == tenant and found[0] >= start]
            for end, _, _ in within:
                spent = [pool_s for at, _, pool_s in within if at <= end]
                most = quota_s * (1 + (end - start) / PERIOD_S) + max(spent)
                assert sum(spent) <= most + 1e-6

    asyncio.run(run())


@given(st.floats(0.1, 200), st.integers(1, 50))
def test_the_reported_wait_is_exact(pool_s, quota_s):
    """The wait that an edge reports is right: neither too short nor much too long."""

    async def run():
        clock = VirtualClock()
        work = TenantWork(clock, quota_s)
        work.ended("t", pool_s)
        wait_s = work.wait_s("t")
        assert (wait_s > 0) == (pool_s > quota_s)
        await clock.advance(wait_s * 0.99)
        assert (work.wait_s("t") > 0) == (wait_s > 0)
        await clock.advance(wait_s * 0.01 + 1e-6)
        assert work.wait_s("t") == 0.0

    asyncio.run(run())


async def test_the_expected_job_time_follows_the_tenants_pace():
    """Before the first job has ended the guess is short: with a long one edges would let no request
    through.
    """
    clock = VirtualClock()
    work = TenantWork(clock)
    assert work.time_for("t", 5) == GUESS_S
    for _ in range(30):
        await clock.advance(1.0)
        work.ended("t", 1.0)
    assert work.time_for("t", 5) == 5.0
    assert work.time_for("other", 5) == GUESS_S


async def test_inactive_tenants_are_forgotten():
    """Tenant names come from clients, so the memory for them must be bounded."""
    clock = VirtualClock()
    work = TenantWork(clock, quota_s=1)
    for number in range(1000):
        work.ended(f"t{number}", 0.5)
    for _ in range(3):
        await clock.advance(PERIOD_S)
        work.ended("t", 0.0)
    assert (set(work._ended) | set(work._ended_before) | set(work._empty_at)) <= {"t"}


async def test_holds_are_published_once_a_second_and_bounded():
    """A flood of refused requests makes one message. If Redis is away, only a hint is lost."""
    clock = VirtualClock()
    holds = MemoryHolds(clock)
    work = TenantWork(clock, holds=holds)
    running = asyncio.create_task(work.run())
    await settle()
    for _ in range(1000):
        work.hold("t", 10_000.0)
    assert await holds.left_s("t") == 0.0
    await clock.advance(1.0)
    assert await holds.left_s("t") == HOLD_MAX_S
    holds.away = True
    work.hold("u", 5.0)
    await clock.advance(2.0)
    holds.away = False
    assert await holds.left_s("u") == 0.0
    work.hold("u", 5.0)
    await clock.advance(1.0)
    assert await holds.left_s("u") == 5.0
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_request_of_a_tenant_beyond_its_pool_seconds_is_a_dead_letter_and_answered():
    """Other tenants' requests run, and the tenant's own run again once its time is paid."""
    desk = Desk(SETTINGS)
    await desk.create_topics()
    await desk.open()
    holds = MemoryHolds(desk.clock)
    tenants = desk.dispatcher.tenants = TenantWork(desk.clock, 10, holds)
    long = await desk.ask("long")
    await desk.read()
    await desk.clock.advance(30.0)
    await desk.finish(long)
    over, other = await desk.ask("over"), await desk.ask("other", tenant_id="u")
    await desk.read()
    await desk.commit()
    assert desk.hand.started == [long, other]
    answer = desk.results()[over]
    assert (answer["status"], answer["error"]["code"]) == ("failed", "over_quota")
    assert "DIA_QUOTA_POOL_S" in answer["error"]["message"]
    assert desk.dead() == ["over_quota"]
    wait_s = tenants.wait_s("t")
    assert tenants._noted == {"t": wait_s}
    await desk.clock.advance(wait_s)
    again = await desk.ask("again")
    await desk.read()
    assert desk.hand.started[-1] == again
    await desk.close()


async def test_a_tenant_is_held_before_it_has_its_share_of_waiting_requests():
    """The edge answers 429 before the queue has to dead-letter requests."""
    desk = Desk(replace(SETTINGS, max_ahead=100, max_waiting=1000, quota_waiting=16))
    await desk.create_topics()
    await desk.open()
    tenants = desk.dispatcher.tenants = TenantWork(desk.clock, holds=MemoryHolds(desk.clock))
    for number in range(15):
        await desk.ask(f"k{number}")
    await desk.read()
    assert tenants._noted == {}
    for number in range(15, 18):
        await desk.ask(f"k{number}")
    await desk.read()
    await desk.commit()
    assert tenants._noted == {"t": GUESS_S}
    assert desk.dead() == ["over_quota"] * 2
    await desk.close()
