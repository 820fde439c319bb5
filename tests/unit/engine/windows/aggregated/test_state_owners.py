"""The bytes of live window states by owner."""

from __future__ import annotations

import numpy as np
import pytest

from streams.engine.windows.aggregated.state_owners import StateOwners


@pytest.mark.parametrize("tenant", ["", "t"])
def test_what_a_state_grew_by_is_held_and_given_back_in_full(tenant):
    """Also of events without a tenant: a rest that stays would take room from all, less than nothing would give it."""
    owners = StateOwners(10_000, in_key=True, named=True)
    owners.begin([0], [tenant], [100])
    owners.resize(np.array([0]), [50])
    assert (owners.held(tenant), owners.total) == (150, 150)
    owners.resize(np.array([0]), [20])
    assert (owners.held(tenant), owners.total) == (120, 120)
    owners.end([0])
    assert (owners.held(tenant), owners.total) == (0, 0)


@pytest.mark.parametrize("in_key", [True, False])
def test_states_that_begin_and_end_together_count_for_their_own_tenants(in_key):
    """Their bytes are added up by tenant first: a mistake would show only where a batch holds several."""
    owners = StateOwners(10_000, in_key=in_key, named=True)
    owners.begin([0, 1, 2, 3], ["a", "b", "a", None], [100, 200, 300, 400])
    owners.resize(np.array([0, 1, 3]), [5, 6, 7])
    grown = (5, 6) if in_key else (0, 0)
    assert (owners.held("a"), owners.held("b")) == (400 + grown[0], 200 + grown[1])
    assert (owners.total, owners.common) == (1018, 0 if in_key else 18)
    owners.end([0, 1])
    assert (owners.held("a"), owners.held("b"), owners.total) == (300, 0, 707)
    owners.begin([1], ["b"], [50])
    owners.end([1, 2, 3])
    assert (owners.held("a"), owners.held("b"), owners.total, owners.common) == (0, 0, 0, 0)


def test_names_of_former_owners_are_forgotten_and_those_of_live_states_stay():
    """Else each tenant that ever was would take memory for ever."""
    owners = StateOwners(1 << 40, in_key=True, named=True)
    owners.begin([0], ["stays"], [100])
    for number in range(3000):
        owners.begin([1, 2], [f"t{number}", "stays"], [10, 1])
        owners.end([1, 2])
    assert len(owners._names) < 2000
    owners.resize(np.array([0]), [7])
    assert (owners.owner(0), owners.owner(1), owners.held("stays"), owners.total) == (
        "stays",
        None,
        107,
        107,
    )
    owners.begin([70, 71], ["new", "stays"], [1, 2])
    assert (owners.owner(70), owners.held("new"), owners.held("stays")) == ("new", 1, 109)
