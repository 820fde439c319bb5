"""Reachability of Kafka, each ClickHouse shard and Redis, the same for every tenant."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from streams.connect.broker.opened import opened
from streams.connect.cache.cache import SharedLayer
from streams.connect.cache.cached_value import CachedValue
from streams.connect.cache.kind import OVERVIEW
from streams.connect.cache.shared import CacheKey
from streams.core.clock import Clock
from streams.core.degradation.degradation import shard_signal
from streams.core.errors import CommandError, TransientError
from streams.core.types import Broker
from streams.http.console.shards import ShardReader

FRESH_S: Final = 5.0
_KAFKA_ANSWER_S: Final = 3.0


class Services:
    """Probes at most once in `FRESH_S`."""

    def __init__(
        self, shards: ShardReader, broker: Broker, layer: SharedLayer | None, clock: Clock
    ) -> None:
        self._shards = shards
        self._broker = broker
        self._layer = layer
        self._recent = CachedValue(self._ask, FRESH_S, clock)

    async def read(self) -> list[dict[str, Any]]:
        """Each with ``name``, ``ok`` and ``detail`` ("" when reachable)."""
        return await self._recent.get()

    async def close(self) -> None:
        await self._recent.close()

    async def _ask(self) -> list[dict[str, Any]]:
        asked: dict[str, Callable[[], Awaitable[Any]]] = {"kafka": self._kafka}
        for shard in range(len(self._shards)):
            asked[shard_signal(shard)] = partial(self._shards.alive, shard)
        asked["redis"] = self._redis
        outcomes = await asyncio.gather(*(_said(ask) for ask in asked.values()))
        return [
            {"name": name, "ok": not detail, "detail": detail}
            for name, detail in zip(asked, outcomes, strict=True)
        ]

    async def _kafka(self) -> None:
        async with asyncio.timeout(_KAFKA_ANSWER_S):
            async with opened(self._broker.admin()) as admin:
                await admin.cluster_id()

    async def _redis(self) -> None:
        if self._layer is None:
            raise CommandError("no address is known")
        layer = self._layer
        await layer.ask(lambda: layer.shared.read(CacheKey(OVERVIEW.name, "alive")))


async def _said(ask: Callable[[], Awaitable[Any]]) -> str:
    """The error without addresses; "" when reachable."""
    try:
        await ask()
    except TimeoutError:
        return "no answer in time"
    except CommandError as error:
        return str(error)
    except TransientError as error:
        return error.code
    return ""
