"""Holds as keys of Redis that expire (streams/connect/access/holds.py)."""

from __future__ import annotations

import math

from redis.asyncio import Redis

from streams.connect.cache.redis import answering


class RedisHolds:
    """The holds of one app."""

    def __init__(self, client: Redis, app: str) -> None:
        self._client = client
        self._app = app

    async def hold(self, tenant: str, seconds: float) -> None:
        with answering():
            await self._client.set(self._name(tenant), b"1", px=max(1, math.ceil(seconds * 1000)))

    async def left_s(self, tenant: str) -> float:
        with answering():
            left_ms: int = await self._client.pttl(self._name(tenant))
        # Negative: no hold, or a key without expiry that another program wrote.
        return max(0, left_ms) / 1000

    async def close(self) -> None:
        await self._client.aclose(close_connection_pool=True)

    def _name(self, tenant: str) -> str:
        return f"dia:hold:{self._app}:{tenant}"
