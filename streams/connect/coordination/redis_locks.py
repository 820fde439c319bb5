"""Locks in Redis: redis-py's lock with a fence."""

from __future__ import annotations

from typing import Final

from redis.asyncio import Redis
from redis.asyncio.lock import Lock
from redis.exceptions import LockNotOwnedError

from streams.connect.cache.redis import answering
from streams.connect.coordination.lease import Grant

FENCE: Final = """
-- KEYS: the name's last fence. A number above it, and, so that a Redis that came back empty does
-- not begin again below, not less than the time in microseconds.
local now = redis.call('TIME')
local last = tonumber(redis.call('GET', KEYS[1]) or '0')
local fence = string.format('%.0f', math.max(now[1] * 1000000 + now[2], last + 1))
redis.call('SET', KEYS[1], fence)
return fence
"""


class RedisLocks:
    def __init__(self, client: Redis) -> None:
        self._client = client
        self._fence = client.register_script(FENCE)

    async def acquire(self, name: str, ttl_s: float) -> Grant | None:
        lock = self._client.lock(_key(name), timeout=ttl_s, blocking=False)
        with answering():
            if not await lock.acquire():
                return None
            fence = int(await self._fence(keys=[f"{_key(name)}:fence"]))
            try:
                await lock.reacquire()
            except LockNotOwnedError:
                return None  # it expired meanwhile: L3
        token: bytes = lock.local.token
        return Grant(name, token.decode(), fence)

    async def renew(self, grant: Grant, ttl_s: float) -> bool:
        with answering():
            try:
                await self._lock(grant, ttl_s).reacquire()
            except LockNotOwnedError:
                return False
        return True

    async def release(self, grant: Grant) -> None:
        with answering():
            try:
                await self._lock(grant, 1.0).release()
            except LockNotOwnedError:
                return  # it expired before

    def _lock(self, grant: Grant, ttl_s: float) -> Lock:
        lock = self._client.lock(_key(grant.name), timeout=ttl_s, blocking=False)
        lock.local.token = grant.token.encode()
        return lock


def _key(name: str) -> str:
    return f"dia:{{lock:{name}}}"
