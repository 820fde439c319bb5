"""Token buckets shared by edges, in memory and in Redis."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest

from streams.connect.access.quotas import MemoryBuckets, Quota, RedisBuckets, SharedBuckets
from streams.connect.cache.redis import connect
from streams.core.clock import SystemClock
from streams.core.errors import CacheUnavailable
from streams.dev.local.ports import LOOPBACK, free_ports

HOUR_S = 3600.0


async def _take(buckets: SharedBuckets, client: str, limit: int) -> float:
    """Return 0 if the request was counted, else the seconds to wait."""
    one, limits = {Quota.REQUESTS: 1}, {Quota.REQUESTS: limit}
    found = await buckets.take(client, one, limits, HOUR_S)
    return found.seconds if found is not None else 0.0


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
    """A client may use its whole limit at once; the next request waits for one token only."""
    waits = [await _take(buckets, "a", 10) for _ in range(11)]
    assert waits[:10] == [0.0] * 10
    assert 0 < waits[10] <= HOUR_S / 10


async def test_clients_do_not_share_a_bucket(buckets):
    """One tenant's flood must not use another tenant's limit."""
    for _ in range(2):
        await _take(buckets, "a", 1)
    assert await _take(buckets, "b", 1) == 0.0


async def test_concurrent_requests_are_each_counted(buckets):
    """Edges ask concurrently: check and decrement must be one atomic step."""
    asked = [_take(buckets, "a", 10) for _ in range(40)]
    assert (await asyncio.gather(*asked)).count(0.0) == 10


async def test_units_of_several_quotas_are_counted_together_or_not_at_all(buckets):
    """The wait is that of the slowest quota: after it, the request is accepted."""
    limits = {Quota.REQUESTS: 10, Quota.EVENTS: 100, Quota.BYTES: 1 << 30}
    costs = {Quota.REQUESTS: 1, Quota.EVENTS: 60, Quota.BYTES: 1000}
    assert await buckets.take("a", costs, limits, HOUR_S) is None
    for _ in range(3):
        found = await buckets.take("a", costs, limits, HOUR_S)
        assert found is not None
        assert found.quota is Quota.EVENTS
        assert found.seconds == pytest.approx(HOUR_S / 100 * 20, rel=0.01)
    assert await buckets.take("a", {**costs, Quota.EVENTS: 40}, limits, HOUR_S) is None
    for _ in range(8):
        assert await buckets.take("a", {Quota.REQUESTS: 1}, limits, HOUR_S) is None
    found = await buckets.take("a", {Quota.REQUESTS: 1}, limits, HOUR_S)
    assert found is not None
    assert found.quota is Quota.REQUESTS


async def test_used_units_are_counted_beyond_the_limit_and_the_debt_is_waited_for(buckets):
    """The cost of refused events is known only afterwards. The debt is at most one period."""
    limits = {Quota.REFUSED_US: 1000}
    one = {Quota.REFUSED_US: 1}
    await buckets.charge("a", {Quota.REFUSED_US: 1500}, limits, HOUR_S)
    found = await buckets.take("a", one, limits, HOUR_S)
    assert found is not None
    assert found.seconds == pytest.approx(HOUR_S * 0.501, rel=0.01)
    for _ in range(5):
        await buckets.charge("a", {Quota.REFUSED_US: 10_000}, limits, HOUR_S)
    found = await buckets.take("a", one, limits, HOUR_S)
    assert found is not None
    assert found.seconds == pytest.approx(HOUR_S * 1.001, rel=0.01)
    assert await buckets.take("b", one, limits, HOUR_S) is None


@pytest.mark.stack
async def test_a_bucket_that_holds_no_number_counts_as_empty(redis_server):
    """A value written by another client must not block a tenant."""
    client = connect(redis_server.url, 2.0)
    made = RedisBuckets(client, "odd")
    await client.set("dia:rate:{odd:a}:requests", "x")
    assert await _take(made, "a", 10) == 0.0
    await made.close()


@pytest.mark.stack
async def test_buckets_in_redis_expire(redis_server):
    """Clients come and go: Redis keeps a client's bucket for at most one period."""
    client = connect(redis_server.url, 2.0)
    made = RedisBuckets(client, "ending")
    await _take(made, "a", 10)
    [key] = [name async for name in client.scan_iter(match="dia:rate:{ending:*")]
    assert 0 < await client.pttl(key) <= HOUR_S / 10 * 1000 + 2
    await made.close()


@pytest.mark.stack
async def test_a_redis_clock_set_back_blocks_no_client(redis_server):
    """A bucket holds at most two periods; a larger value comes from a clock that was set back."""
    client = connect(redis_server.url, 2.0)
    made = RedisBuckets(client, "back")
    await client.set("dia:rate:{back:a}:requests", str(10**17))
    assert await _take(made, "a", 10) == 0.0
    await made.close()


async def test_an_unreachable_redis_raises_cache_unavailable():
    """The caller must know that it has to decide without the cache."""
    made = RedisBuckets(connect(f"redis://{LOOPBACK}:{free_ports(1)[0]}/0", 2.0), "edge")
    with pytest.raises(CacheUnavailable):
        await _take(made, "a", 10)
    await made.close()
