"""Shares: the bound is never reached, and an owner with little is not refused because of others."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.engine.state.shares import Shares, room

TENANTS = ["a", "b", "c", "d"]
moves = st.lists(
    st.tuples(st.sampled_from(TENANTS), st.integers(-50, 300)), min_size=1, max_size=60
)


def _greedy(shares: Shares, tenant: str, wanted: int) -> int:
    taken = min(wanted, shares.room(tenant))
    shares.take(tenant, taken)
    return taken


@given(st.integers(1, 1000), st.integers(1, 1000), moves)
def test_no_order_of_takes_and_releases_reaches_the_bound(bound, quota, moves):
    """So no tenant can stop a partition through the bound."""
    shares = Shares(bound, quota)
    for tenant, count in moves:
        if count > 0:
            _greedy(shares, tenant, count)
        else:
            shares.give_back(tenant, min(-count, shares.held(tenant)))
        assert shares.total <= bound
        assert shares.total == sum(map(shares.held, TENANTS))
        assert all(0 <= shares.held(tenant) <= quota for tenant in TENANTS)


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**9))
def test_taking_one_by_one_equals_taking_many_at_once(bound, total, held):
    """A verdict must not depend on the batching of the log."""
    held = min(held, total)
    at_once = room(bound, 0, total, held)
    for taken in {0, at_once // 3, at_once}:
        assert room(bound, 0, total + taken, held + taken) == at_once - taken


@given(st.integers(1, 6), st.integers(100, 100_000))
def test_greedy_tenants_leave_a_share_to_the_next(count, bound):
    """k greedy tenants leave at least 1/2^k, in any order, and the next one gets half of that."""
    shares = Shares(bound)
    for _ in range(200):
        for number in range(count):
            _greedy(shares, str(number), 1 + bound // 50)
    free = bound - shares.total
    assert free >= bound // 2**count - count
    assert _greedy(shares, "late", bound) >= free // 2


@given(st.integers(10, 1000), moves)
def test_entries_without_a_known_owner_count_only_against_the_bound(bound, moves):
    """After a restart, the owners of live ids are unknown."""
    shares = Shares(bound)
    shares.unowned = bound // 2
    for tenant, count in moves:
        _greedy(shares, tenant, abs(count))
    assert shares.total <= bound
