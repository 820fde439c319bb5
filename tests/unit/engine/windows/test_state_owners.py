"""The bytes of live window states by owner."""

from __future__ import annotations

import pytest

from streams.engine.windows.state_owners import StateOwners


@pytest.mark.parametrize("tenant", ["", "t"])
def test_what_a_state_grew_by_is_held_and_given_back_in_full(tenant):
    """Also of events without a tenant: a rest that stays would take room from all, less than nothing would give it."""
    owners = StateOwners(10_000, in_key=True, named=True)
    owners.begin(0, tenant, 100)
    owners.resize([0], [50])
    assert (owners.held(tenant), owners.total) == (150, 150)
    owners.resize([0], [20])
    assert (owners.held(tenant), owners.total) == (120, 120)
    owners.end([0])
    assert (owners.held(tenant), owners.total) == (0, 0)
