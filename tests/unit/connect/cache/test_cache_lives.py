"""Default lifetimes of cached answers, in seconds of the cache's clock."""

from __future__ import annotations

import pytest

from streams.connect.cache.cache import Cache, SharedLayer, Versioned
from streams.connect.cache.invalidations import Invalidations
from streams.connect.cache.kind import KINDS, MODEL, CacheKind
from streams.connect.cache.memory import MemoryShared
from streams.core.clock import VirtualClock
from streams.core.errors import CacheUnavailable
from streams.core.resilience.breaker import Breaker, BreakerPolicy
from streams.core.telemetry.metrics import Metrics


class Reader:
    """A cache with its own source; ``asked`` counts the requests to the source."""

    def __init__(self, clock: VirtualClock, shared: MemoryShared | None = None, seed: int = 0):
        self.asked = 0
        self.value: str | None = "v"
        metrics = Metrics()
        layer = None
        if shared is not None:
            breaker = Breaker("redis", BreakerPolicy(), (CacheUnavailable,), clock, metrics)
            layer = SharedLayer(shared, breaker, Invalidations(shared, clock, metrics))
        self.cache: Cache[str] = Cache(
            CacheKind("c", versioned=False), encode=str.encode, decode=bytes.decode,
            clock=clock, metrics=metrics, layer=layer, seed=seed,
        )  # fmt: skip

    async def _load(self) -> Versioned[str]:
        self.asked += 1
        return Versioned(self.value)

    async def get(self, name: str = "n") -> str | None:
        return await self.cache.get(name, self._load)


async def _life_s(reader: Reader, clock: VirtualClock, step_s: float) -> float:
    """Seconds until the source is asked again, in steps of ``step_s``."""
    await reader.get()
    before, lived_s = reader.asked, 0.0
    while True:
        await clock.advance(step_s)
        lived_s += step_s
        await reader.get()
        if reader.asked > before:
            return lived_s


@pytest.mark.parametrize(("value", "longest_s", "step_s"), [("v", 30, 0.25), (None, 10, 0.1)])
async def test_a_process_keeps_an_answer_thirty_seconds_and_an_absence_ten(
    value, longest_s, step_s
):
    """Each lifetime is shortened by a random part of up to a tenth, so that entries of one moment
    end at different times. Over many seeds the whole tenth is used, and no lifetime is longer.
    """
    lives = []
    for seed in range(60):
        clock = VirtualClock()
        reader = Reader(clock, seed=seed)
        reader.value = value
        lives.append(await _life_s(reader, clock, step_s))
    assert longest_s * 0.9 <= min(lives) < longest_s * 0.92
    assert longest_s * 0.98 < max(lives) <= longest_s


async def test_redis_keeps_an_answer_for_other_processes_five_minutes():
    """A process that starts 4 min after the load finds the answer; one that starts after 5 min does
    not.
    """
    clock = VirtualClock()
    shared = MemoryShared(clock)
    await Reader(clock, shared).get()
    await clock.advance(269)
    found = Reader(clock, shared)
    assert (await found.get(), found.asked) == ("v", 0)
    await clock.advance(31)
    late = Reader(clock, shared)
    assert (await late.get(), late.asked) == ("v", 1)


def _unshared(kind: CacheKind) -> Cache[str]:
    return Cache(
        kind, encode=str.encode, decode=bytes.decode, clock=VirtualClock(), metrics=Metrics()
    )


@pytest.mark.parametrize("kind", [kind for kind in KINDS.values() if kind is not MODEL])
async def test_a_change_of_an_unversioned_entry_needs_no_version(kind):
    """Policies and query results have no version in their source: Redis assigns one."""
    await _unshared(kind).invalidate("n")


async def test_a_model_is_changed_to_the_version_that_its_log_counts():
    """Two workers may publish two changes in either order: the larger version stays."""
    await _unshared(MODEL).invalidate("n", 3)
