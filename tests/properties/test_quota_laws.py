"""One limit shared by several edges, with and without Redis, against a log of all grants."""

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
"""(edge that is asked, seconds before the request, whether Redis is unreachable)"""


class Edges:
    """Edges with shared buckets, and the requests that they granted."""

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
        """0 for a granted request, else the seconds to wait."""
        try:
            await self.rates[edge].take("acme", costs or {Quota.REQUESTS: 1})
        except RateLimited as refused:
            return refused.retry_after_s
        self.granted.append((self.clock.monotonic(), edge))
        return 0.0

    def most(self, edge: int | None = None) -> float:
        """The largest ratio, over all spans, of granted requests to what one bucket's limit allows."""
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
def test_all_edges_together_grant_at_most_one_limit(steps, limit):
    """Adding replicas for load must not raise a tenant's limit."""
    edges = asyncio.run(_run(steps, limit, may_be_away=False))
    assert edges.most() <= limit + 1e-6


@given(STEPS, st.integers(1, 9))
def test_without_redis_each_edge_still_holds_the_limit(steps, limit):
    """A cache outage must neither open nor close the quota, also while Redis comes and goes."""
    edges = asyncio.run(_run(steps, limit, may_be_away=True))
    for edge in range(EDGES):
        assert edges.most(edge) <= limit + 1e-6


@given(STEPS, st.integers(1, 9))
def test_a_client_that_waits_as_answered_is_accepted(steps, limit):
    """By the same edge: a refusal by the shared bucket must not count against the edge's own
    bucket."""

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
def test_a_request_of_several_units_is_charged_in_full_or_not_at_all(steps, limit, events):
    """A refused request is charged to no quota. A client that waits as answered is accepted at the
    second attempt at the latest: the edge's own buckets do not know the grants of other edges."""
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
def test_a_charge_applies_at_every_edge_and_expires(charges):
    """An edge that refused a tenant's garbage shares the charge with the others. A debt lasts at
    most one period longer than a full bucket."""

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


def test_an_exhausted_quota_has_its_own_code():
    """A sender of too many events gets a different answer from a sender of too many requests."""

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


def test_the_metric_distinguishes_shared_and_local_decisions():
    """Operators should see limits that are three times as wide because Redis is unreachable."""

    async def run() -> tuple[float | None, float | None]:
        edges = Edges(limit=9)
        await edges.ask(0)
        edges.buckets.away = True
        await edges.ask(0)
        await edges.ask(0)
        value = edges.metrics[0].registry.get_sample_value
        return tuple(value("dia_edge_rate_checks_total", {"by": by}) for by in ("shared", "local"))

    assert asyncio.run(run()) == (1.0, 2.0)
