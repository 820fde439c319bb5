"""The contract of locks: one holder at a time, leases that expire, fences that rise."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest

from streams.connect.cache.redis import connect
from streams.connect.coordination.lease import Grant, Locks, hold, take
from streams.connect.coordination.memory_locks import MemoryLocks
from streams.connect.coordination.redis_locks import RedisLocks
from streams.core.clock import SystemClock
from streams.core.errors import CacheUnavailable, LeaseLost, LockBusy
from streams.dev.local.ports import LOOPBACK, free_ports

TTL_S = 30.0
SHORT_S = 0.05


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.stack)])
async def locks(request: pytest.FixtureRequest) -> AsyncIterator[Locks]:
    """The locks under test."""
    if request.param == "memory":
        yield MemoryLocks(SystemClock())
        return
    client = connect(request.getfixturevalue("redis_server").url, 2.0)
    yield RedisLocks(client)
    await client.aclose(close_connection_pool=True)


@pytest.fixture
def name() -> str:
    return f"lock-{uuid.uuid4().hex}"


async def _granted(locks: Locks, name: str, ttl_s: float) -> Grant:
    """Acquire the lock once the previous holder's lease expired."""
    for _ in range(1000):
        if (grant := await locks.acquire(name, ttl_s)) is not None:
            return grant
        await asyncio.sleep(0.005)
    raise AssertionError("never granted")


async def test_a_name_has_one_holder(locks, name):
    first = await locks.acquire(name, TTL_S)
    assert await locks.acquire(name, TTL_S) is None
    assert await locks.acquire(name + "x", TTL_S) is not None
    await locks.release(first)
    assert await locks.acquire(name, TTL_S) is not None


async def test_fences_rise_with_every_grant(locks, name):
    """A target that compares fences recognises the newest holder."""
    fences = []
    for _ in range(5):
        grant = await _granted(locks, name, TTL_S)
        fences.append(grant.fence)
        await locks.release(grant)
    assert fences == sorted(set(fences))


async def test_a_lost_lock_is_neither_renewed_nor_released(locks, name):
    """A holder that was paused must not touch its successor's lock."""
    late = await _granted(locks, name, SHORT_S)
    after = await _granted(locks, name, TTL_S)
    assert not await locks.renew(late, TTL_S)
    await locks.release(late)
    assert await locks.acquire(name, TTL_S) is None
    assert await locks.renew(after, TTL_S)


async def test_a_renewed_lock_outlives_its_first_lease(locks, name):
    """Work may take longer than one lease."""
    # On a slow machine the first lease ends before its renewal: then the test takes the lock again.
    while not await locks.renew(await _granted(locks, name, SHORT_S), TTL_S):
        pass
    await asyncio.sleep(2 * SHORT_S)
    assert await locks.acquire(name, TTL_S) is None


async def test_a_block_holds_the_name_for_as_long_as_it_runs(locks, name):
    """The lock is renewed in the background and released at the end, after an error, too."""
    clock = SystemClock()
    fences = []

    async def fail() -> None:
        async with hold(locks, clock, name, ttl_s=TTL_S) as lease:
            lease.check()
            fences.append(lease.fence)
            with pytest.raises(LockBusy, match="another process holds"):
                await hold(locks, clock, name).__aenter__()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    async with hold(locks, clock, name, wait_s=5.0) as again:
        assert again.fence > fences[0]


async def test_a_lease_that_is_not_renewed_reports_its_loss(locks, name):
    """The holder checks before each step and stops."""
    lease = await take(locks, SystemClock(), name, SHORT_S)
    await asyncio.sleep(2 * SHORT_S)
    with pytest.raises(LeaseLost, match="run it again for the rest"):
        lease.check()
    await lease.renew(locks)
    assert not lease.held


@pytest.mark.parametrize("kind", ["memory", "redis"])
async def test_an_unreachable_redis_is_one_error(kind, name):
    """Callers handle one error to work without locks."""
    client = connect(f"redis://{LOOPBACK}:{free_ports(1)[0]}/0", 1.0)
    locks = MemoryLocks(SystemClock(), away=True) if kind == "memory" else RedisLocks(client)
    with pytest.raises(CacheUnavailable):
        await locks.acquire(name, TTL_S)
    for call in (locks.renew(Grant(name, "t", 1), TTL_S), locks.release(Grant(name, "t", 1))):
        with pytest.raises(CacheUnavailable):
            await call
    await client.aclose(close_connection_pool=True)
