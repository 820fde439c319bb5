"""A cache of one kind of value in two layers; the package's docstring has the protocol."""

from __future__ import annotations

import math
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, Literal, NamedTuple, TypeAlias, TypeVar

from streams.connect.cache.invalidations import Invalidations
from streams.connect.cache.kind import CacheKind
from streams.connect.cache.local import LoadStart, LocalCache
from streams.connect.cache.shared import NOTHING, CacheKey, Claim, SharedCache, present
from streams.connect.cache.single_flight import SingleFlight
from streams.core.clock import Clock
from streams.core.errors import BreakerOpen, CacheUnavailable
from streams.core.resilience.breaker import Breaker
from streams.core.telemetry.metrics import Metrics

V = TypeVar("V")
T = TypeVar("T")
Cause: TypeAlias = Literal["event", "put"]

_WAIT_POLL_S = 0.05
_TTL_MIN_S = 0.001


class Versioned(NamedTuple, Generic[V]):
    """None: the source has no value. ``version`` is the source's own, where it has versions."""

    value: V | None
    version: int = 0


class _Entry(NamedTuple, Generic[V]):
    loaded: Versioned[V]
    rest_s: float


class _Behind(Exception):  # noqa: N818 - an answer about a value, not a failure
    """The source is behind the cache's floor: the value is returned, not stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CachePolicy:
    """TTLs in seconds; a random part of up to ``jitter`` is subtracted, so that entries loaded
    together expire apart."""

    l1_ttl_s: float = 30.0
    l2_ttl_s: float = 300.0
    negative_ttl_s: float = 10.0
    """of the fact that the source has no value"""
    jitter: float = 0.1
    l1_bytes: int = 16 << 20
    claim_ttl_s: float = 10.0
    """longest load by one process while the others wait, at most ``wait_s``"""
    wait_s: float = 2.0


@dataclass(frozen=True, slots=True)
class SharedLayer:
    """L2 of a process. ``sealed``: entries carry this cluster's seal."""

    shared: SharedCache
    breaker: Breaker
    invalidations: Invalidations
    sealed: bool = False

    async def ask(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Call through the breaker. Raises `CacheUnavailable`."""
        try:
            return await self.breaker.call(attempt)
        except BreakerOpen as error:
            raise CacheUnavailable(str(error)) from error


class Cache(Generic[V]):
    """``layer`` None: no Redis. ``decode`` raises `ValueError` for bytes that it cannot read."""

    def __init__(
        self,
        kind: CacheKind,
        *,
        encode: Callable[[V], bytes],
        decode: Callable[[bytes], V],
        clock: Clock,
        metrics: Metrics,
        layer: SharedLayer | None = None,
        policy: CachePolicy | None = None,
        seed: int = 0,
    ) -> None:
        self.name = kind.name
        self._kind = kind
        self._encode = encode
        self._decode = decode
        self._clock = clock
        self._metrics = metrics
        self._layer = layer
        self._policy = policy if policy is not None else CachePolicy()
        self._jitter = random.Random(seed)
        self._local: LocalCache[V] = LocalCache(clock, self._policy.l1_bytes)
        self._flights: SingleFlight[V | None] = SingleFlight()
        if layer is not None:
            layer.invalidations.add(self)

    async def get(self, name: str, load: Callable[[], Awaitable[Versioned[V]]]) -> V | None:
        """None: the source has no such value. Raises only the errors of ``load``, which must have
        its own deadline."""
        kept = self._local.get(name)
        if kept is not None and (self._layer is None or self._layer.invalidations.live):
            return self._hit("l1", kept.value)
        if kept is None:
            self._count("l1", "miss")
        # A load that began before an invalidation may return an outdated value.
        flight = (name, self._local.asking().generation)
        return await self._flights.run(flight, lambda: self._find(name, load))

    async def _find(self, name: str, load: Callable[[], Awaitable[Versioned[V]]]) -> V | None:
        """K2 to K4."""
        asked = self._local.asking()
        if self._layer is None or (self._kind.authorises and not self._layer.sealed):
            return self._keep(name, await self._load(load), asked)
        key = CacheKey(self.name, name)
        claim: Claim | None = None
        try:
            found = await self._read(key)
            if found is None:
                self._count("l2", "miss")
                claim, found = await self._claim_or_wait(key)
            if found is not None:
                return self._hit("l2", self._keep(name, found.loaded, asked, found.rest_s))
        except CacheUnavailable:
            self._count("l2", "error")
            if (kept := self._local.get(name)) is not None:
                return self._hit("l1", kept.value)
            return self._keep(name, await self._load(load), asked)
        try:
            return await self._load_and_fill(key, load)
        finally:
            await self._release(claim)

    async def _read(self, key: CacheKey) -> _Entry[V] | None:
        """The valid entry, or None."""
        assert self._layer is not None
        shared = self._layer.shared
        stored = await self._layer.ask(lambda: shared.read(key))
        if not stored.valid or stored.body is None or stored.version is None:
            return None
        if stored.body == NOTHING:
            return _Entry(Versioned(None, stored.version), stored.rest_s)
        try:
            value = self._decode(stored.body[1:])
        except ValueError:
            # Written by another version of dia; it ends within its TTL.
            self._count("l2", "unreadable")
            return None
        return _Entry(Versioned(value, stored.version), stored.rest_s)

    async def _claim_or_wait(self, key: CacheKey) -> tuple[Claim | None, _Entry[V] | None]:
        """K3 between processes: the claim, or the value that another process loaded. Neither after
        the wait: the claim's owner may be dead."""
        assert self._layer is not None
        shared, policy = self._layer.shared, self._policy
        until = self._clock.monotonic() + policy.wait_s
        while True:
            claim = await self._layer.ask(lambda: shared.claim(key, policy.claim_ttl_s))
            if claim is not None or self._clock.monotonic() >= until:
                return claim, None
            await self._clock.sleep(_WAIT_POLL_S * (0.5 + self._jitter.random()))
            if (found := await self._read(key)) is not None:
                return None, found

    async def _load_and_fill(
        self, key: CacheKey, load: Callable[[], Awaitable[Versioned[V]]]
    ) -> V | None:
        """K4."""
        assert self._layer is not None
        shared, asked = self._layer.shared, self._local.asking()
        try:
            floor = await self._layer.ask(
                lambda: shared.floor(key, stamped=not self._kind.versioned)
            )
        except CacheUnavailable:
            return self._keep(key.name, await self._load(load), asked)
        loaded = await self._load(load)
        try:
            loaded = await self._fill(key, loaded, floor, asked)
        except CacheUnavailable:
            self._count("l2", "error")
        except _Behind:
            self._metrics.cache.loads.labels(self.name, "behind").inc()
            return loaded.value
        return self._keep(key.name, loaded, asked)

    async def _fill(
        self, key: CacheKey, loaded: Versioned[V], floor: int, asked: LoadStart
    ) -> Versioned[V]:
        """Returns the entry for L1. Raises `_Behind`. The entry's TTL counts from the start of the
        load."""
        assert self._layer is not None
        shared, value, version = self._layer.shared, loaded.value, loaded.version
        took_s = self._clock.monotonic() - asked.at_s
        body = self._body(value)
        ttl_s = max(_TTL_MIN_S, self._ttl_s(value, self._policy.l2_ttl_s) - took_s)
        if not self._kind.versioned:
            await self._layer.ask(lambda: shared.fill(key, floor, body, ttl_s))
            return Versioned(value, floor)
        told = await self._layer.ask(
            lambda: shared.advance(key, version, body, ttl_s, floored=True)
        )
        if told != version:
            raise _Behind
        return loaded

    async def _load(self, load: Callable[[], Awaitable[Versioned[V]]]) -> Versioned[V]:
        try:
            loaded = await load()
        except Exception:
            self._metrics.cache.loads.labels(self.name, "error").inc()
            raise
        self._metrics.cache.loads.labels(self.name, "ok").inc()
        return loaded

    async def _release(self, claim: Claim | None) -> None:
        if claim is None:
            return
        try:
            await claim.release()
        except CacheUnavailable:
            return  # it expires by itself

    async def put(self, name: str, value: V, version: int | None = None) -> None:
        """Write-through: call it after the source has the value. Older versions change nothing.
        Raises `CacheUnavailable`: no process received the change; repeat it."""
        await self._advance(name, version, value, "put")

    async def invalidate(self, name: str, version: int | None = None) -> None:
        """Below ``version``, where the source has versions. Raises as `put`."""
        await self._advance(name, version, None, "event")

    async def _advance(self, name: str, version: int | None, value: V | None, cause: Cause) -> None:
        assert (version is not None) == self._kind.versioned, (
            "versions come from the source, or not"
        )
        asked, kept = self._local.asking(), self._local.get(name)
        body = None if value is None else self._body(value)
        if self._layer is None:
            before = kept.version if kept is not None else 0
            told = before + 1 if version is None else max(version, before)
        else:
            # Not through the breaker: the caller repeats a failed change.
            ttl_s = self._ttl_s(value, self._policy.l2_ttl_s)
            key = CacheKey(self.name, name)
            told = await self._layer.shared.advance(key, version, body, ttl_s) or 0
            kept = self._local.get(name)
        self._metrics.cache.invalidations.labels(self.name, cause).inc()
        if kept is not None and kept.version == told:
            return
        unheard = asked.generation == self._local.asking().generation
        self._local.forget(name, told)
        if value is not None and unheard and version in {None, told}:
            self._keep(name, Versioned(value, told), self._local.asking())

    def forget(self, name: str, version: int) -> None:
        """Drop the L1 entry unless it is of ``version``."""
        self._local.forget(name, version)

    def clear(self) -> None:
        self._local.clear()

    async def close(self) -> None:
        await self._flights.close()

    def _body(self, value: V | None) -> bytes:
        return NOTHING if value is None else present(self._encode(value))

    def _keep(
        self, name: str, loaded: Versioned[V], asked: LoadStart, rest_s: float = math.inf
    ) -> V | None:
        """At most ``rest_s``: no answer is older than the TTL since its load."""
        value, version = loaded
        size = len(self._body(value))
        ttl_s = min(rest_s, self._ttl_s(value, self._policy.l1_ttl_s))
        self._local.keep(name, value, version, size, ttl_s, asked)
        self._metrics.cache.bytes.labels(self.name).set(self._local.bytes)
        return value

    def _ttl_s(self, value: V | None, longest_s: float) -> float:
        if value is None:
            longest_s = min(longest_s, self._policy.negative_ttl_s)
        return longest_s * (1 - self._policy.jitter * self._jitter.random())

    def _hit(self, layer: str, value: V | None) -> V | None:
        self._count(layer, "hit" if value is not None else "negative")
        return value

    def _count(self, layer: str, result: str) -> None:
        self._metrics.cache.requests.labels(self.name, layer, result).inc()
