"""The console finds the agent of simulations by the fields of its requests, in any app."""

from __future__ import annotations

import msgspec

from agents.app import SIMULATE_DECISION, app
from schemas import SimulationRequest
from streams import App
from streams.http.console.simulations import _REQUEST, simulation_agent


def test_the_agent_of_the_built_in_app_is_found():
    """Without it the console lists no simulations and cancels none."""
    assert simulation_agent(app) is SIMULATE_DECISION


def test_an_app_without_simulations_has_none():
    """Its console must say so, not send requests that no agent reads."""
    assert simulation_agent(App("other")) is None


def test_a_request_to_cancel_needs_no_other_field():
    """A field that the built-in type comes to require would break every cancelling."""
    required = {
        one.encode_name for one in msgspec.structs.fields(SimulationRequest) if one.required
    }
    assert required <= _REQUEST
