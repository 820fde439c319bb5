"""The law of letters that hold their record: a tenant has its quota and no more, whatever others send."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.engine.runtime.poison.letter_rate import LetterRate

PERIOD_S = 3600.0
TENANTS = (b"a", b"b", b"c")
sent = st.lists(st.tuples(st.sampled_from(TENANTS), st.integers(0, 900)), min_size=1, max_size=120)


@given(sent, st.integers(0, 12))
def test_a_tenant_has_its_quota_and_no_more(letters, quota):
    """Of each span, at most the quota and what the span refills; and nothing that others send is taken of it."""
    rate, alone = LetterRate(quota, PERIOD_S), {one: LetterRate(quota, PERIOD_S) for one in TENANTS}
    now_s, taken = 0.0, {one: [] for one in TENANTS}
    for tenant, pause_s in letters:
        now_s += pause_s
        whole = rate.take(tenant, now_s)
        assert whole == alone[tenant].take(tenant, now_s), "as if no other tenant sent"
        if whole:
            taken[tenant].append(now_s)
        else:
            assert not quota or taken[tenant][-1] >= now_s - PERIOD_S, "an hour fills the account"
    for times in taken.values():
        for first, begin_s in enumerate(times):
            for last in range(first, len(times)):
                span_s = times[last] - begin_s
                assert last - first + 1 <= quota * (1 + span_s / PERIOD_S) + 1e-6
