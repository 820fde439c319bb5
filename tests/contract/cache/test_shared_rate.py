"""Buckets that edges share, in memory and in Redis."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest

from streams.access.shared_rate import MemoryBuckets, RedisBuckets, SharedBuckets
from streams.cache.redis import connect
from streams.clock import SystemClock
from streams.errors import CacheUnavailable
from streams.local.ports import LOOPBACK, free_ports

HOUR_S = 3600.0


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.stack)])
async def buckets(request: pytest.FixtureRequest) -> AsyncIterator[SharedBuckets]:
    if request.param == "memory":
        made: SharedBuckets = MemoryBuckets(SystemClock())
    else:
        url = request.getfixturevalue("redis_server").url
        made = RedisBuckets(connect(url, 2.0), uuid.uuid4().hex)
    yield made
    await made.close()


async def test_a_burst_is_granted_and_the_next_request_waits(buckets):
    """A client may send its whole limit at once; the wait is that of one request."""
    waits = [await buckets.take("a", limit=10, period_s=HOUR_S) for _ in range(11)]
    assert waits[:10] == [0.0] * 10
    assert 0 < waits[10] <= HOUR_S / 10


async def test_clients_do_not_share_a_bucket(buckets):
    """One tenant's flood is not another's."""
    for _ in range(2):
        await buckets.take("a", limit=1, period_s=HOUR_S)
    assert await buckets.take("b", limit=1, period_s=HOUR_S) == 0.0


async def test_requests_at_once_are_each_counted(buckets):
    """Edges ask at the same moment: looking and counting must be one step."""
    asked = [buckets.take("a", limit=10, period_s=HOUR_S) for _ in range(40)]
    assert (await asyncio.gather(*asked)).count(0.0) == 10


@pytest.mark.stack
async def test_buckets_in_redis_end_by_themselves(redis_server):
    """Clients come and go; what is kept of them is bounded by one period."""
    client = connect(redis_server.url, 2.0)
    made = RedisBuckets(client, "ending")
    await made.take("a", limit=10, period_s=HOUR_S)
    [key] = [name async for name in client.scan_iter(match="dia:rate:{ending:*")]
    assert 0 < await client.pttl(key) <= HOUR_S / 10 * 1000 + 2
    await made.close()


@pytest.mark.stack
async def test_a_clock_of_redis_that_was_set_back_locks_nobody_out(redis_server):
    """A bucket can hold one period at most; more is another clock's."""
    client = connect(redis_server.url, 2.0)
    made = RedisBuckets(client, "back")
    await client.set("dia:rate:{back:a}", str(10**17))
    assert await made.take("a", limit=10, period_s=HOUR_S) == 0.0
    await made.close()


async def test_a_redis_that_is_away_is_one_error():
    """What decides instead has to know."""
    made = RedisBuckets(connect(f"redis://{LOOPBACK}:{free_ports(1)[0]}/0", 2.0), "edge")
    with pytest.raises(CacheUnavailable):
        await made.take("a", limit=10, period_s=HOUR_S)
    await made.close()
