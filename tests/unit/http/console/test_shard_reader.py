"""Queries to shards: none to a shard that workers report as absent, or that fails repeatedly."""

from __future__ import annotations

import pytest

from streams.core.clock import SystemClock
from streams.core.errors import BreakerOpen, ShardUnavailable
from streams.core.settings import Settings
from streams.core.telemetry.metrics import Metrics
from streams.http.console.shards import BREAKER, ShardReader

# Port 9 is discard: no server listens there.
TWO = Settings(clickhouse_shards="http://127.0.0.1:9,http://127.0.0.1:9")


async def test_a_shard_that_workers_report_as_absent_is_not_queried():
    """An absent or overloaded shard gets no queries; its breaker records no call."""
    reader = ShardReader(TWO, SystemClock(), Metrics(), away=lambda shard: shard == 1)
    for _ in range(BREAKER.failures + 1):
        with pytest.raises(ShardUnavailable, match="the workers report"):
            await reader.alive(1)
    assert reader.breakers[1].state == "closed"
    await reader.close()


async def test_a_shard_that_fails_repeatedly_is_not_queried():
    """Each attempt would cost its reader a timeout."""
    reader = ShardReader(TWO, SystemClock(), Metrics())
    for _ in range(BREAKER.failures):
        with pytest.raises(ShardUnavailable):
            await reader.alive(0)
    with pytest.raises(BreakerOpen):
        await reader.alive(0)
    assert reader.breakers[1].state == "closed"
    await reader.close()
