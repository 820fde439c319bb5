"""Laws of quotas: a bound is never reached, and who holds little is never refused for others."""

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
def test_no_order_of_taking_and_giving_back_reaches_the_bound(bound, quota, moves):
    """So no stop can follow from it, whatever tenants do."""
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
def test_one_at_a_time_comes_to_what_many_at_once_come_to(bound, total, held):
    """A verdict must not hang on how the log was cut into batches."""
    held = min(held, total)
    at_once = room(bound, 0, total, held)
    for taken in {0, at_once // 3, at_once}:
        assert room(bound, 0, total + taken, held + taken) == at_once - taken


@given(st.integers(1, 6), st.integers(100, 100_000))
def test_greedy_tenants_leave_a_share_to_the_next(count, bound):
    """k of them leave 1/2^k at least, whoever comes first, and the next one gets half of that."""
    shares = Shares(bound)
    for _ in range(200):
        for number in range(count):
            _greedy(shares, str(number), 1 + bound // 50)
    free = bound - shares.total
    assert free >= bound // 2**count - count
    assert _greedy(shares, "late", bound) >= free // 2


@given(st.integers(10, 1000), moves)
def test_what_nobody_is_known_to_hold_counts_against_the_bound_alone(bound, moves):
    """After a restart nobody is known to hold the ids that are alive."""
    shares = Shares(bound)
    shares.unowned = bound // 2
    for tenant, count in moves:
        _greedy(shares, tenant, abs(count))
    assert shares.total <= bound
