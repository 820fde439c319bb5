"""What is known of a model, read through the caches that `record_training` writes through to."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from schemas.model_card import ModelCard
from streams.cache.cache import Cache, SharedLayer, Versioned
from streams.cache.kind import MODEL, owned
from streams.clock import Clock
from streams.errors import ShardUnavailable
from streams.settings import Settings
from streams.sinks import sharding
from streams.sinks.clickhouse import replicas
from streams.sinks.replica import Replica
from streams.telemetry.metrics import Metrics

_SQL = """
SELECT card, ver
FROM models_local FINAL
WHERE tenant = {tenant:String} AND model = {model:String}
"""

_decode = msgspec.json.Decoder(ModelCard).decode
_encode = msgspec.json.Encoder().encode


class ModelCardReader:
    """Cards from the process, from Redis, or from the one shard that has them; connections are
    kept. A card that was read after a change was told is not older than that change."""

    def __init__(
        self, settings: Settings, clock: Clock, metrics: Metrics, layer: SharedLayer | None
    ) -> None:
        groups = settings.shards()
        self._map = sharding.load(settings.sharding, len(groups)) if groups else None
        self._shards = [replicas(settings, urls) for urls in groups]
        self._cache: Cache[ModelCard] = Cache(
            MODEL, encode=_encode, decode=_decode, clock=clock, metrics=metrics, layer=layer
        )

    async def card(self, tenant: str, model: str) -> ModelCard | None:
        """None: no result of that model was ever recorded. Raises `ShardUnavailable`."""
        return await self._cache.get(owned(tenant, model), lambda: self._load(tenant, model))

    async def close(self) -> None:
        await self._cache.close()
        for group in self._shards:
            for replica in group:
                await asyncio.to_thread(replica.close)

    async def _load(self, tenant: str, model: str) -> Versioned[ModelCard]:
        if self._map is None:
            raise ShardUnavailable("no ClickHouse shard is known: set DIA_CLICKHOUSE_SHARDS.")
        group = self._shards[self._map.shard_of_key(f"{tenant}\0{model}")]
        return await asyncio.to_thread(_ask, group, {"tenant": tenant, "model": model})


def _ask(group: Sequence[Replica], parameters: dict[str, object]) -> Versioned[ModelCard]:
    failures: list[ShardUnavailable] = []
    for replica in group:
        try:
            rows = replica.query(_SQL, parameters)[1]
        except ShardUnavailable as error:
            failures.append(error)
            continue
        if not rows:
            return Versioned(None)
        card, version = rows[0]
        return Versioned(_decode(card), int(version))
    raise ShardUnavailable("; ".join(str(failure) for failure in failures)) from failures[-1]
