"""Buckets that edges share, in memory and in Redis."""

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
    """0 for a request that was counted, else the seconds to wait."""
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
    """A client may send its whole limit at once; the wait is that of one request."""
    waits = [await _take(buckets, "a", 10) for _ in range(11)]
    assert waits[:10] == [0.0] * 10
    assert 0 < waits[10] <= HOUR_S / 10


async def test_clients_do_not_share_a_bucket(buckets):
    """One tenant's flood is not another's."""
    for _ in range(2):
        await _take(buckets, "a", 1)
    assert await _take(buckets, "b", 1) == 0.0


async def test_requests_at_once_are_each_counted(buckets):
    """Edges ask at the same moment: looking and counting must be one step."""
    asked = [_take(buckets, "a", 10) for _ in range(40)]
    assert (await asyncio.gather(*asked)).count(0.0) == 10


async def test_units_of_several_quotas_are_counted_together_or_not_at_all(buckets):
    """The wait is that of the quota that needs the longest: whoever obeys it is let in."""
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


async def test_what_was_used_is_counted_though_it_does_not_fit_and_is_waited_for(buckets):
    """The cost of refused events is known afterwards. Debt is one period at most."""
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
    """What others write into Redis must not stop a tenant."""
    client = connect(redis_server.url, 2.0)
    made = RedisBuckets(client, "odd")
    await client.set("dia:rate:{odd:a}:requests", "x")
    assert await _take(made, "a", 10) == 0.0
    await made.close()


@pytest.mark.stack
async def test_buckets_in_redis_end_by_themselves(redis_server):
    """Clients come and go; what is kept of them is bounded by one period."""
    client = connect(redis_server.url, 2.0)
    made = RedisBuckets(client, "ending")
    await _take(made, "a", 10)
    [key] = [name async for name in client.scan_iter(match="dia:rate:{ending:*")]
    assert 0 < await client.pttl(key) <= HOUR_S / 10 * 1000 + 2
    await made.close()


@pytest.mark.stack
async def test_a_clock_of_redis_that_was_set_back_locks_nobody_out(redis_server):
    """A bucket can hold two periods at most; more is another clock's."""
    client = connect(redis_server.url, 2.0)
    made = RedisBuckets(client, "back")
    await client.set("dia:rate:{back:a}:requests", str(10**17))
    assert await _take(made, "a", 10) == 0.0
    await made.close()


async def test_a_redis_that_is_away_is_one_error():
    """What decides instead has to know."""
    made = RedisBuckets(connect(f"redis://{LOOPBACK}:{free_ports(1)[0]}/0", 2.0), "edge")
    with pytest.raises(CacheUnavailable):
        await _take(made, "a", 10)
    await made.close()
