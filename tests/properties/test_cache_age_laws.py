"""The age of cached answers: at most one lifetime, through both layers together."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.connect.cache.cache import Cache, CachePolicy, SharedLayer, Versioned
from streams.connect.cache.invalidations import Invalidations
from streams.connect.cache.kind import CacheKind
from streams.connect.cache.memory import MemoryShared
from streams.core.clock import VirtualClock, settle
from streams.core.errors import CacheUnavailable
from streams.core.resilience.breaker import Breaker, BreakerPolicy
from streams.core.telemetry.metrics import Metrics

TTL_S = 30.0
STEPS = st.lists(
    st.tuples(st.integers(0, 1), st.floats(0.0, 20.0), st.floats(0.0, 5.0)), max_size=40
)
"""(process that asks, seconds before the request, seconds that a load takes)"""


async def _oldest(steps: list[tuple[int, float, float]], l1_ttl_s: float) -> float:
    clock = VirtualClock()
    shared = MemoryShared(clock)
    listening, caches = [], []
    for seed in range(2):
        metrics = Metrics()
        breaker = Breaker("redis", BreakerPolicy(), (CacheUnavailable,), clock, metrics)
        invalidations = Invalidations(shared, clock, metrics)
        listening.append(asyncio.create_task(invalidations.run()))
        caches.append(
            Cache(
                CacheKind("c", versioned=False),
                encode=lambda value: repr(value).encode(),
                decode=float,
                clock=clock,
                metrics=metrics,
                layer=SharedLayer(shared, breaker, invalidations),
                policy=CachePolicy(l1_ttl_s=l1_ttl_s, l2_ttl_s=TTL_S),
                seed=seed,
            )
        )
    await settle()
    oldest = 0.0
    for process, pause_s, took_s in steps:
        await clock.advance(pause_s)

        async def load(took_s: float = took_s) -> Versioned[float]:
            read_at = clock.monotonic()
            await clock.sleep(took_s)
            return Versioned(read_at)

        asking = asyncio.create_task(caches[process].get("n", load))
        began_s = clock.monotonic()
        await settle()
        if not asking.done():
            await clock.advance(took_s)
        read_at = await asking
        # A caller that waits for a load gets the value of that load.
        oldest = max(oldest, began_s - read_at)
    for task in listening:
        task.cancel()
    await asyncio.gather(*listening, return_exceptions=True)
    return oldest


@given(STEPS)
def test_no_answer_is_older_than_one_lifetime(steps):
    """A value that claims to be 30 s old and is 58 s old hides half an outage."""
    assert asyncio.run(_oldest(steps, TTL_S)) <= TTL_S
    assert asyncio.run(_oldest(steps, TTL_S / 3)) <= TTL_S


@pytest.mark.parametrize("process", [0, 1])
def test_a_value_of_the_shared_layer_keeps_its_remaining_lifetime(process):
    """The critical step: L2 is read just before its entry expires, and L1 must not start a new
    lifetime."""
    steps = [(0, 0.0, 0.0), *((process, 26.0, 0.0) for _ in range(3))]
    assert asyncio.run(_oldest(steps, TTL_S)) <= TTL_S
