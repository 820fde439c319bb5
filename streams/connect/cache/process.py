"""The Redis connection, breaker and subscription that the caches of one process share."""

from __future__ import annotations

import asyncio

from streams.connect.cache.cache import SharedLayer
from streams.connect.cache.invalidations import Invalidations
from streams.connect.cache.sealed import SealedShared, secret_of
from streams.connect.cache.shared import SharedCache
from streams.core.clock import Clock
from streams.core.errors import CacheUnavailable
from streams.core.resilience.breaker import Breaker, BreakerPolicy
from streams.core.settings import Settings
from streams.core.telemetry.metrics import Metrics

BREAKER = BreakerPolicy(failures=5, window_s=60.0, open_s=60.0, successes=3)


def shared_layer(
    shared: SharedCache, clock: Clock, metrics: Metrics, secret: bytes = b""
) -> SharedLayer:
    """Behind a breaker and with a subscription; entries are sealed with ``secret``, if given."""
    if secret:
        shared = SealedShared(shared, secret, clock)
    breaker = Breaker("redis", BREAKER, (CacheUnavailable,), clock, metrics)
    return SharedLayer(shared, breaker, Invalidations(shared, clock, metrics), bool(secret))


class ProcessCaches:
    """Give ``layer`` to every `Cache` first, then `start`. Without DIA_REDIS_URL it is None."""

    def __init__(self, settings: Settings, clock: Clock, metrics: Metrics) -> None:
        self.layer: SharedLayer | None = None
        self._listening: asyncio.Task[None] | None = None
        if settings.redis_url:
            # A process without Redis does not load its client.
            from streams.connect.cache.redis import RedisShared, connect

            client = connect(
                settings.redis_url, settings.redis_timeout_s, **settings.redis_options()
            )
            self.layer = shared_layer(RedisShared(client), clock, metrics, secret_of(settings))

    def start(self) -> None:
        """Redis may be unavailable."""
        if self.layer is not None:
            self._listening = asyncio.create_task(self.layer.invalidations.run(), name="caches")

    async def close(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
        if self.layer is not None:
            await self.layer.shared.close()
