"""A cache of one kind of value, in two layers; the package's docstring has the protocol."""

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
    """A value as its source has it; None: the source has none. ``version`` is the source's own,
    where it counts versions."""

    value: V | None
    version: int = 0


class _Entry(NamedTuple, Generic[V]):
    """A valid entry of L2, and how long it still lives there."""

    loaded: Versioned[V]
    rest_s: float


class _Behind(Exception):  # noqa: N818 - an answer about a value, not a failure
    """The source lags behind what the cache was told: an answer for its caller, not a fact."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CachePolicy:
    """Longest lives in seconds; a random part of up to ``jitter`` is taken off each, so that what
    was loaded together does not end together."""

    l1_ttl_s: float = 30.0
    l2_ttl_s: float = 300.0
    negative_ttl_s: float = 10.0
    """of the knowledge that the source has no value"""
    jitter: float = 0.1
    l1_bytes: int = 16 << 20
    claim_ttl_s: float = 10.0
    """how long one process may load while the others wait, at most ``wait_s``"""
    wait_s: float = 2.0


@dataclass(frozen=True, slots=True)
class SharedLayer:
    """L2 as a process has it: the layer, the breaker before it, and the ear for notices.
    ``sealed``: its entries are this cluster's own (streams/connect/cache/sealed.py)."""

    shared: SharedCache
    breaker: Breaker
    invalidations: Invalidations
    sealed: bool = False

    async def ask(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Through the breaker. Raises `CacheUnavailable`."""
        try:
            return await self.breaker.call(attempt)
        except BreakerOpen as error:
            raise CacheUnavailable(str(error)) from error


class Cache(Generic[V]):
    """``layer`` None: there is no Redis, and L1 alone is the cache of a single process. ``decode``
    raises ValueError for what it cannot read."""

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

    # --- reading -----------------------------------------------------------------------------

    async def get(self, name: str, load: Callable[[], Awaitable[Versioned[V]]]) -> V | None:
        """Cache-aside. None: the source has no such value. Raises only what ``load`` raises, which
        must have a deadline of its own."""
        kept = self._local.get(name)
        if kept is not None and (self._layer is None or self._layer.invalidations.live):
            return self._hit("l1", kept.value)
        if kept is None:
            self._count("l1", "miss")
        # A load begun before something was invalidated may bring what is no longer true.
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
        """K2: what a valid entry holds, or None."""
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
            # Another version of dia wrote it; it ends within its TTL.
            self._count("l2", "unreadable")
            return None
        return _Entry(Versioned(value, stored.version), stored.rest_s)

    async def _claim_or_wait(self, key: CacheKey) -> tuple[Claim | None, _Entry[V] | None]:
        """K3 among processes: the right to load, or what somebody else loaded. Neither: waited
        long enough; whoever has the claim may be dead."""
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
        """Keep in L2 what was loaded; what L1 may keep of it. Raises `_Behind`. The life of the
        entry began when its source was asked."""
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
            return  # it ends by itself

    # --- changing ----------------------------------------------------------------------------

    async def put(self, name: str, value: V, version: int | None = None) -> None:
        """Write-through: call it after the source has the value. Versions below one that was put
        before change nothing. Raises `CacheUnavailable`: nobody was told; tell it again."""
        await self._advance(name, version, value, "put")

    async def invalidate(self, name: str, version: int | None = None) -> None:
        """The value changed (to ``version``, where the source counts them). Raises as `put`."""
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
            # Not through the breaker: whoever changes something comes back until it is told.
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
        """A notice: L1 drops what is not of ``version``."""
        self._local.forget(name, version)

    def clear(self) -> None:
        """A notice of every name."""
        self._local.clear()

    async def close(self) -> None:
        """End the loads under way."""
        await self._flights.close()

    # --- entries -----------------------------------------------------------------------------

    def _body(self, value: V | None) -> bytes:
        return NOTHING if value is None else present(self._encode(value))

    def _keep(
        self, name: str, loaded: Versioned[V], asked: LoadStart, rest_s: float = math.inf
    ) -> V | None:
        """In L1, for its TTL but no longer than ``rest_s``: what came from L2 has lived already, and
        no answer is older than the TTL of its source's answer."""
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
