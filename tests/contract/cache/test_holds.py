"""Tenant holds that workers write and edges read, in memory and in Redis."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest

from streams.connect.access.holds import Holds, MemoryHolds
from streams.connect.access.redis_holds import RedisHolds
from streams.connect.cache.redis import connect
from streams.core.clock import SystemClock
from streams.core.errors import CacheUnavailable
from streams.dev.local.ports import LOOPBACK, free_ports


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.stack)])
async def holds(request: pytest.FixtureRequest) -> AsyncIterator[Holds]:
    if request.param == "memory":
        made: Holds = MemoryHolds(SystemClock())
    else:
        url = request.getfixturevalue("redis_server").url
        made = RedisHolds(connect(url, 2.0), uuid.uuid4().hex)
    yield made
    await made.close()


async def test_a_hold_applies_to_one_tenant_and_the_latest_write_wins(holds):
    """A later write corrects an earlier one; names with special characters are stored unchanged."""
    odd = "t\0*{}\n"
    assert await holds.left_s("t") == 0.0
    await holds.hold("t", 1000.0)
    await holds.hold(odd, 5000.0)
    assert 0 < await holds.left_s("t") <= 1000.0
    assert 1000.0 < await holds.left_s(odd) <= 5000.0
    await holds.hold("t", 2000.0)
    assert 1000.0 < await holds.left_s("t") <= 2000.0
    assert await holds.left_s("u") == 0.0


async def test_a_hold_expires_by_itself(holds):
    """The worker that wrote the hold may be dead and cannot remove it."""
    await holds.hold("t", 0.001)
    await asyncio.sleep(0.02)
    assert await holds.left_s("t") == 0.0


@pytest.mark.stack
async def test_a_foreign_value_holds_no_tenant(redis_server):
    """A value without an expiry was not written by a worker."""
    client = connect(redis_server.url, 2.0)
    made = RedisHolds(client, "odd")
    await client.set("dia:hold:odd:t", "x")
    assert await made.left_s("t") == 0.0
    await made.close()


async def test_an_unreachable_redis_raises_cache_unavailable():
    """The caller must know that it has to decide without the cache."""
    made = RedisHolds(connect(f"redis://{LOOPBACK}:{free_ports(1)[0]}/0", 2.0), "app")
    for asked in (made.hold("t", 1.0), made.left_s("t")):
        with pytest.raises(CacheUnavailable):
            await asked
    await made.close()
