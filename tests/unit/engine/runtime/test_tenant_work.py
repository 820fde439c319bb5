"""What one tenant's simulations may take of the pool, and who hears of it."""

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
def test_a_tenant_that_asks_when_it_may_takes_no_more_than_its_quota(given_jobs, quota_s):
    """In any span, what ended of it is within the quota of the span, one period and one job."""

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
def test_who_waits_as_told_is_within_its_quota(pool_s, quota_s):
    """The wait that an edge tells is the true one: not before it, and not long after."""

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


async def test_the_time_for_jobs_follows_the_pace_of_the_tenant():
    """And a short guess while none has ended: a long one would last, since edges let none through."""
    clock = VirtualClock()
    work = TenantWork(clock)
    assert work.time_for("t", 5) == GUESS_S
    for _ in range(30):
        await clock.advance(1.0)
        work.ended("t", 1.0)
    assert work.time_for("t", 5) == 5.0
    assert work.time_for("other", 5) == GUESS_S


async def test_nothing_is_remembered_of_tenants_that_are_gone():
    """Names of tenants come from outside: without an end they would take all memory."""
    clock = VirtualClock()
    work = TenantWork(clock, quota_s=1)
    for number in range(1000):
        work.ended(f"t{number}", 0.5)
    for _ in range(3):
        await clock.advance(PERIOD_S)
        work.ended("t", 0.0)
    assert (set(work._ended) | set(work._ended_before) | set(work._empty_at)) <= {"t"}


async def test_holds_are_told_once_a_second_and_bounded():
    """A flood of refused requests is one message, and Redis being away loses only a hint."""
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
    """Others run, and the tenant's own run again once its time is paid."""
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
    """So an edge answers 429, and not the queue with dead letters."""
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
