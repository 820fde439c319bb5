"""What is known of a model, read through the caches that `record_training` writes through to."""

from __future__ import annotations

import asyncio
from functools import partial

import msgspec

from streams.connect.cache.cache import Cache, SharedLayer, Versioned
from streams.connect.cache.kind import MODEL, owned
from streams.connect.sinks.fact_shards import FactShards
from streams.connect.sinks.replica import Replica
from streams.core.clock import Clock
from streams.core.records.model_card import ModelCard
from streams.core.settings import Settings
from streams.core.telemetry.metrics import Metrics

_SQL = """
SELECT card, ver
FROM models_local FINAL
WHERE tenant = {tenant:String} AND model = {model:String}
"""

_decode = msgspec.json.Decoder(ModelCard).decode
_encode = msgspec.json.Encoder().encode


class ModelCardReader:
    """Cards from the process, from Redis, or from the one shard that has them; connections are
    kept. A card that is read after the message of a change is not older than that change."""

    def __init__(
        self, settings: Settings, clock: Clock, metrics: Metrics, layer: SharedLayer | None
    ) -> None:
        self._shards = FactShards(settings, clock)
        self._cache: Cache[ModelCard] = Cache(
            MODEL, encode=_encode, decode=_decode, clock=clock, metrics=metrics, layer=layer
        )

    async def card(self, tenant: str, model: str) -> ModelCard | None:
        """None: no result of that model was ever recorded. Raises `ShardUnavailable`."""
        return await self._cache.get(owned(tenant, model), lambda: self._load(tenant, model))

    async def close(self) -> None:
        await self._cache.close()
        await asyncio.to_thread(self._shards.close)

    async def _load(self, tenant: str, model: str) -> Versioned[ModelCard]:
        group = await self._shards.of_key(f"{tenant}\0{model}")
        work = partial(_card, {"tenant": tenant, "model": model})
        return await asyncio.to_thread(group.ask, work)


def _card(parameters: dict[str, object], replica: Replica) -> Versioned[ModelCard]:
    rows = replica.query(_SQL, parameters)[1]
    if not rows:
        return Versioned(None)
    card, version = rows[0]
    return Versioned(_decode(card), int(version))
