"""Which tier a load is of."""

from __future__ import annotations

import pytest

from streams.operate.shards.tiers import TIERS, tier_of


@pytest.mark.parametrize(
    ("per_day", "servers"),
    [
        (1, (3, 2)),
        (99_999_999, (3, 2)),
        (100_000_000, (8, 2)),
        (999_999_999, (8, 2)),
        (1_000_000_000, (20, 3)),
    ],
)
def test_a_load_at_a_bound_is_of_the_larger_tier(per_day, servers):
    """SPEC D4 says how many shards and replicas."""
    tier = tier_of(per_day)
    assert (tier.shards, tier.replicas) == servers
    assert tier in TIERS
