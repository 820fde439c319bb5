"""The poison breaker: fewer tenants than the setting cannot stop a partition."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.errors import PoisonStorm
from streams.core.types import TopicPartition
from streams.engine.runtime.poison.poison import PoisonBreaker, PoisonLimits

TP = TopicPartition("t", 0)
HOSTILE = (b"h0", b"h1")
MIN_RECORDS = 20

share = st.integers(0, 60).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n)))
honest = st.integers(0, 60).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n // 2)))
"""(records, bad): at most half of an honest tenant's records are bad, in every batch."""


def _limits(min_tenants: int) -> PoisonLimits:
    return PoisonLimits(10.0, MIN_RECORDS, 0.5, min_tenants)


def _fold(breaker: PoisonBreaker, now_s: float, sent: dict[bytes, tuple[int, int]]):
    records = {tenant: count for tenant, (count, _) in sent.items()}
    bad = Counter({tenant: count for tenant, (_, count) in sent.items() if count})
    return breaker.observe(now_s, sum(records.values()), bad, lambda: records, 0)


@given(
    st.lists(
        st.tuples(
            st.floats(0, 6),
            st.dictionaries(st.sampled_from(HOSTILE), share),
            st.dictionaries(st.sampled_from([b"a", b"b", b"c"]), honest),
        ),
        max_size=25,
    )
)
def test_two_tenants_never_stop_a_partition_that_requires_three(batches):
    """Whatever they send, beside tenants whose records are mostly good."""
    breaker, now_s = PoisonBreaker(TP, _limits(3)), 0.0
    for pause_s, hostile, others in batches:
        now_s += pause_s
        found = _fold(breaker, now_s, hostile | others)
        assert set(found) <= set(HOSTILE)


@given(st.integers(1, 5), st.integers(1, 5), st.integers(MIN_RECORDS, 100))
def test_tenants_with_only_bad_records_stop_it_if_they_are_enough(needed, tenants, each):
    """So the breaker stops after a bad deploy."""
    breaker = PoisonBreaker(TP, _limits(needed))
    sent = {b"t%d" % n: (each, each) for n in range(tenants)}
    if tenants >= needed:
        with pytest.raises(PoisonStorm):
            _fold(breaker, 0.0, sent)
    else:
        assert sorted(_fold(breaker, 0.0, sent)) == sorted(sent)


@given(st.lists(st.tuples(st.floats(0, 3), share), min_size=1, max_size=30))
def test_it_counts_exactly_the_records_in_its_window(batches):
    """A drifting sum would stop a partition for records that left the window."""
    breaker, now_s, folded = PoisonBreaker(TP, _limits(3)), 0.0, []
    for pause_s, (records, bad) in batches:
        now_s += pause_s
        folded.append((now_s, records, bad))
        _fold(breaker, now_s, {b"a": (records, bad)})
    # A slice is a 64th of the window: all records younger than the window less one slice count.
    surely = [(r, b) for at_s, r, b in folded if at_s > now_s - 10.0 + 10.0 / 64]
    maybe = [(r, b) for at_s, r, b in folded if at_s >= now_s - 10.0]
    assert sum(b for _, b in surely) <= breaker.shares(b"a")[0] <= sum(b for _, b in maybe)
    assert sum(r for r, _ in surely) <= breaker._records <= sum(r for r, _ in maybe)
