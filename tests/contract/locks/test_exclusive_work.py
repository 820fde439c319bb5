"""Exclusive work: serialised by a Redis lock, and executed without one when Redis is unreachable."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from streams.connect.cache.redis import connect
from streams.connect.coordination import exclusive
from streams.connect.coordination.exclusive import exclusively
from streams.connect.coordination.lease import hold
from streams.connect.coordination.redis_locks import RedisLocks
from streams.core.clock import SystemClock
from streams.core.errors import LockBusy
from streams.core.settings import Settings


def _work(check):
    check()
    return "done"


@pytest.mark.stack
async def test_work_waits_for_the_current_holder(redis_server, monkeypatch):
    """Two operators run `dia migrate apply` at once: one runs all its statements first."""
    monkeypatch.setattr(exclusive, "WAIT_S", 0.0)
    settings, name = Settings(redis_url=redis_server.url), uuid.uuid4().hex
    client = connect(redis_server.url, 2.0)
    async with hold(RedisLocks(client), SystemClock(), name):
        with pytest.raises(LockBusy):
            await exclusively(settings, name, _work)
        with pytest.raises(LockBusy):
            await exclusively(settings, [uuid.uuid4().hex, name], _work)
    outcomes = await asyncio.gather(exclusively(settings, [name, uuid.uuid4().hex], _work))
    assert outcomes == ["done"]
    await client.aclose(close_connection_pool=True)


@pytest.mark.parametrize("url", ["", "redis://127.0.0.1:9/0"])
async def test_without_redis_the_work_still_runs(url):
    """An unreachable cache must not keep an operator from migrating the tables."""
    assert await exclusively(Settings(redis_url=url), "migrations", _work) == "done"
