"""Caches responses from ClickHouse: briefly for load, and for a day for outages; a stale response
is marked. A key begins with the tenant, which comes from the authorizer only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import msgspec
import structlog

from streams.connect.cache.cache import Cache, CachePolicy, SharedLayer, Versioned
from streams.connect.cache.kind import CATALOG, KEPT, LETTERS, OVERVIEW, SERIES, CacheKind, owned
from streams.connect.cache.write_behind import WriteBehind
from streams.core.clock import Clock
from streams.core.errors import CacheUnavailable, TransientError
from streams.core.telemetry.metrics import Metrics
from streams.http.console.tagged_answer import TaggedAnswer

log = structlog.get_logger(__name__)

FRESH_S: Final[Mapping[CacheKind, float]] = {
    SERIES: 10.0,
    CATALOG: 60.0,
    OVERVIEW: 30.0,
    LETTERS: 5.0,
}
KEPT_S: Final = 86_400.0
BEHIND_S: Final = 1.0
BEHIND_MAX: Final = 200
"""Responses waiting for Redis, the newest of each query."""
_GOOD: Final = b'{"degraded":false,'
_DEGRADED: Final = b'{"degraded":true,'
"""how an answer begins when it is read, and when its source is away"""
_encode = msgspec.json.Encoder().encode

Load = Callable[[], Awaitable[Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class QueryKey:
    """A query of ``tenant`` ("": all). ``asked`` identifies it."""

    kind: CacheKind
    tenant: str
    asked: tuple[Any, ...]

    @property
    def name(self) -> str:
        said = sha256(_encode(self.asked)).hexdigest()
        return owned(self.tenant, f"{self.kind.name}:{said}")


class ResponseCache:
    def __init__(
        self,
        layer: SharedLayer | None,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._clock = clock

        def cache(kind: CacheKind, ttl_s: float) -> Cache[TaggedAnswer]:
            return Cache(
                kind,
                encode=bytes,
                decode=TaggedAnswer,
                clock=clock,
                metrics=metrics,
                layer=layer,
                policy=CachePolicy(l1_ttl_s=ttl_s, l2_ttl_s=ttl_s, l1_bytes=32 << 20),
            )

        self._fresh = {kind: cache(kind, ttl_s) for kind, ttl_s in FRESH_S.items()}
        self._kept = cache(KEPT, KEPT_S)
        # Write-behind: a caller does not wait until Redis has the response for outages.
        self._behind: WriteBehind[TaggedAnswer] = WriteBehind(
            KEPT.name, self._keep, clock, metrics, bound=BEHIND_MAX, interval_s=BEHIND_S
        )

    async def run(self) -> None:
        """Store the last good responses until cancelled."""
        await self._behind.run()

    async def get(self, question: QueryKey, load: Load) -> TaggedAnswer:
        """A JSON object: the result of ``load`` with ``as_of_ms`` and ``degraded``. Raises the
        errors of ``load`` without a cached response."""
        try:
            found = await self._fresh[question.kind].get(
                question.name, lambda: self._load(question, load)
            )
        except TransientError as error:
            kept = await self._last_good(question.name)
            if kept is None:
                raise
            log.info("answered_from_cache", cache=question.kind.name, code=error.code)
            return TaggedAnswer(_DEGRADED + kept.removeprefix(_GOOD))
        assert found is not None, "a load gives an answer"
        return found

    async def told(self, question: QueryKey, load: Load) -> TaggedAnswer:
        """As `get`, for a ``load`` that reads available sources and sets ``degraded`` itself."""

        async def fill() -> Versioned[TaggedAnswer]:
            return Versioned(
                TaggedAnswer(_encode({"as_of_ms": self._clock.now_ms(), **await load()}))
            )

        found = await self._fresh[question.kind].get(question.name, fill)
        assert found is not None, "a load gives an answer"
        return found

    async def close(self) -> None:
        """Store waiting responses, if Redis accepts them."""
        try:
            await self._behind.flush()
        except CacheUnavailable as error:
            log.info("responses_not_cached", answers=len(self._behind), code=error.code)
        for cache in (*self._fresh.values(), self._kept):
            await cache.close()

    async def _load(self, question: QueryKey, load: Load) -> Versioned[TaggedAnswer]:
        as_of_ms = self._clock.now_ms()
        body = TaggedAnswer(_encode({"degraded": False, "as_of_ms": as_of_ms, **await load()}))
        if not self._behind.offer(question.name, body):
            log.info("response_not_cached", waiting=BEHIND_MAX)
        return Versioned(body)

    async def _keep(self, batch: Mapping[str, TaggedAnswer]) -> None:
        """Raises `CacheUnavailable`: the whole batch is written again."""
        for name, body in batch.items():
            await self._kept.put(name, body)

    async def _last_good(self, name: str) -> TaggedAnswer | None:
        waiting = self._behind.waiting(name)
        return waiting if waiting is not None else await self._kept.get(name, _nothing)


async def _nothing() -> Versioned[TaggedAnswer]:
    return Versioned(None)
