"""One limit over several edges, with Redis there or away: against a plain log of what was granted."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.connect.access.quotas import Costs, MemoryBuckets, Quota, Quotas
from streams.connect.access.refusals import OverQuota, RateLimited
from streams.core.clock import VirtualClock
from streams.core.errors import CacheUnavailable
from streams.core.resilience.breaker import Breaker, BreakerPolicy
from streams.core.telemetry.metrics import Metrics

PERIOD_S = 60.0
EDGES = 3
STEPS = st.lists(
    st.tuples(
        st.integers(0, EDGES - 1),
        st.sampled_from([0.0, 0.1, 1.0, 7.5, 60.0, 200.0]),
        st.booleans(),
    ),
    max_size=80,
)
"""(which edge is asked, seconds before, whether Redis is away then)"""


class Edges:
    """Edges that share buckets, and what they granted."""

    def __init__(self, limit: int) -> None:
        self.clock = VirtualClock()
        self.buckets = MemoryBuckets(self.clock)
        self.granted: list[tuple[float, int]] = []
        self.metrics = [Metrics() for _ in range(EDGES)]
        policy = BreakerPolicy(failures=5, open_s=10.0, successes=1)
        self.rates = [
            Quotas(
                self.clock,
                metrics.edge,
                limits={Quota.REQUESTS: limit, Quota.EVENTS: 2 * limit},
                period_s=PERIOD_S,
                buckets=self.buckets,
                breaker=Breaker("redis", policy, (CacheUnavailable,), self.clock, metrics),
            )
            for metrics in self.metrics
        ]

    async def ask(self, edge: int, costs: Costs | None = None) -> float:
        """0 for a request that was granted, else seconds to wait."""
        try:
            await self.rates[edge].take("acme", costs or {Quota.REQUESTS: 1})
        except RateLimited as refused:
            return refused.retry_after_s
        self.granted.append((self.clock.monotonic(), edge))
        return 0.0

    def most(self, edge: int | None = None) -> float:
        """The largest number granted in a span, over what the limit of one bucket allows in it."""
        moments = [at for at, by in self.granted if edge in (None, by)]
        return max(
            (
                count / (1 + (end - start) / PERIOD_S)
                for i, start in enumerate(moments)
                for count, end in enumerate(moments[i:], 1)
            ),
            default=0.0,
        )


async def _run(steps, limit, *, may_be_away: bool) -> Edges:
    edges = Edges(limit)
    for edge, pause_s, away in steps:
        await edges.clock.advance(pause_s)
        edges.buckets.away = away and may_be_away
        await edges.ask(edge)
    return edges


@given(STEPS, st.integers(1, 9))
def test_all_edges_together_grant_what_one_would(steps, limit):
    """Replicas are added for load, and must not raise anybody's limit."""
    edges = asyncio.run(_run(steps, limit, may_be_away=False))
    assert edges.most() <= limit + 1e-6


@given(STEPS, st.integers(1, 9))
def test_without_redis_each_edge_still_holds_the_limit(steps, limit):
    """An outage of a cache neither opens the gate nor closes it, at no moment of its coming and going."""
    edges = asyncio.run(_run(steps, limit, may_be_away=True))
    for edge in range(EDGES):
        assert edges.most(edge) <= limit + 1e-6


@given(STEPS, st.integers(1, 9))
def test_who_waits_as_told_is_let_in(steps, limit):
    """By the same edge: what the shared bucket refused does not count against the edge's own."""

    async def run() -> None:
        edges = Edges(limit)
        for edge, pause_s, _ in steps:
            await edges.clock.advance(pause_s)
            wait_s = await edges.ask(edge)
            if wait_s:
                assert wait_s <= PERIOD_S
                await edges.clock.advance(wait_s)
                assert await edges.ask(edge) == 0.0

    asyncio.run(run())


@given(STEPS, st.integers(2, 9), st.integers(1, 4))
def test_what_costs_several_units_is_taken_whole_or_not_at_all(steps, limit, events):
    """A refused request costs nothing of any quota. One that waits as it is told is let in, the
    second time at the latest: its edge's own buckets do not know what other edges granted."""
    costs = {Quota.REQUESTS: 1, Quota.EVENTS: events}

    async def run() -> None:
        edges = Edges(limit)
        for edge, pause_s, _ in steps:
            await edges.clock.advance(pause_s)
            waits = [await edges.ask(edge, costs)]
            while waits[-1]:
                await edges.clock.advance(waits[-1])
                waits.append(await edges.ask(edge, costs))
            assert len(waits) <= 3
        most = 2 * limit / events if events > 2 else limit
        assert edges.most() <= most + 1e-6

    asyncio.run(run())


@given(
    st.lists(st.tuples(st.integers(0, EDGES - 1), st.integers(1, 40), st.booleans()), max_size=30)
)
def test_what_is_charged_is_owed_by_every_edge_and_forgiven_in_time(charges):
    """One edge refuses a tenant's garbage, and the others must not begin anew. No debt lasts more than
    a period beyond a full bucket."""

    async def run() -> None:
        edges, limit = Edges(9), 9
        for edge, units, away in charges:
            edges.buckets.away = away
            await edges.rates[edge].charge("acme", {Quota.REQUESTS: units})
        edges.buckets.away = False
        shared = sum(units for _, units, away in charges if not away)
        for edge in range(EDGES):
            own = sum(units for by, units, _ in charges if by == edge)
            if max(own, shared) > limit:
                assert await edges.ask(edge) > 0
        await edges.clock.advance(PERIOD_S)
        for edge in range(EDGES):
            await edges.clock.advance(PERIOD_S / limit)
            assert await edges.ask(edge) == 0.0

    asyncio.run(run())


def test_a_used_up_quota_has_a_code_of_its_own():
    """A sender that is too big is told another thing than one that asks too often."""

    async def run() -> None:
        edges = Edges(limit=9)
        await edges.rates[0].take("acme", {Quota.EVENTS: 18})
        with pytest.raises(OverQuota, match="more than 18 events within 60 s") as refused:
            await edges.rates[1].take("acme", {Quota.EVENTS: 1})
        assert refused.value.retry_after_s == pytest.approx(60 / 18)
        labels = {"quota": "events"}
        registry = edges.metrics[1].registry
        assert registry.get_sample_value("dia_edge_over_quota_total", labels) == 1

    asyncio.run(run())


def test_the_metric_says_who_decided():
    """Limits that are three times as wide for want of Redis should be seen."""

    async def run() -> tuple[float | None, float | None]:
        edges = Edges(limit=9)
        await edges.ask(0)
        edges.buckets.away = True
        await edges.ask(0)
        await edges.ask(0)
        value = edges.metrics[0].registry.get_sample_value
        return tuple(value("dia_edge_rate_checks_total", {"by": by}) for by in ("shared", "local"))

    assert asyncio.run(run()) == (1.0, 2.0)
