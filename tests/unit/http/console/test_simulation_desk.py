"""Asking for a simulation from the console, and cancelling one: ordinary request records for the pipeline."""

from __future__ import annotations

import pytest

from agents.app import SIMULATION_REQUEST
from agents.simulate_decision import ask
from streams.core.clock import SystemClock
from streams.core.types import RecordBatch, TopicPartition
from streams.engine.decode.codecs import Limits, decode
from streams.http.console.simulations import REQUESTS_MAX

LIMITS = Limits(300, 604_800)


def _events(broker) -> list:
    """The requests that the simulator reads, decoded as it decodes them."""
    found = []
    for partition in range(SIMULATION_REQUEST.partitions):
        tp = TopicPartition(SIMULATION_REQUEST.name, partition)
        batch: RecordBatch = broker.log(tp).read_committed(0, 100)
        decoded = decode(SIMULATION_REQUEST, batch, LIMITS)
        assert not decoded.bad
        found += decoded.events
    return found


@pytest.mark.parametrize("name", ["operate", "admin"])
async def test_a_cancellation_is_a_request_of_its_tenant(http, bearer, broker, name):
    """It names the key to cancel, and has the highest priority."""
    before_ms = SystemClock().now_ms()
    body = {"idempotency_key": "k", "model_id": "m"}
    if name == "admin":
        body["tenant"] = "acme"
    answer = await http.post("/api/simulations/cancel", headers=bearer(name), json=body)
    assert answer.status_code == 202, answer.text
    [event] = _events(broker)
    assert (event.request_id, event.tenant_id) == (answer.json()["request_id"], "acme")
    assert event.ts >= before_ms
    asked = ask(event)
    assert (asked.cancels, asked.priority) == ("k", 9)


async def test_a_bound_token_cannot_cancel_for_another_tenant(http, bearer, broker):
    """Nor for all tenants at once."""
    body = {"idempotency_key": "k", "model_id": "m", "tenant": "globex"}
    refused = await http.post("/api/simulations/cancel", headers=bearer("operate"), json=body)
    assert refused.status_code == 403
    del body["tenant"]
    unnamed = await http.post("/api/simulations/cancel", headers=bearer("admin"), json=body)
    assert unnamed.status_code == 400
    assert _events(broker) == []


WORK = {"model_id": "m", "scenario": "monte_carlo", "parameters": {"outcome": "x"}, "trials": 100}


@pytest.mark.parametrize("key", ["k", None])
async def test_a_simulation_is_asked_for_under_its_own_key_or_a_new_one(http, bearer, broker, key):
    """A repeat of the same key is answered once, so a user who wants another run gives none."""
    body = WORK | {"priority": 7} | ({"idempotency_key": key} if key else {})
    answer = await http.post("/api/simulations", headers=bearer("operate"), json=body)
    assert answer.status_code == 202, answer.text
    [event] = _events(broker)
    assert event.idempotency_key == (key or answer.json()["request_id"])
    assert event.idempotency_key == answer.json()["idempotency_key"]
    assert (event.tenant_id, event.trials, event.parameters) == ("acme", 100, {"outcome": "x"})
    asked = ask(event)
    assert (asked.cancels, asked.priority) == (None, 7)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"tenant": "globex"}, 403),
        ({"scenario": "cancel", "parameters": {"idempotency_key": "k"}}, 400),
        ({"trials": 0}, 400),
        ({"priority": 10}, 400),
        ({"parameters": "x"}, 400),
    ],
)
async def test_a_request_that_may_not_be_made_sends_nothing(http, bearer, broker, change, status):
    """It would spend another tenant's share, or end in a dead letter."""
    refused = await http.post("/api/simulations", headers=bearer("operate"), json=WORK | change)
    assert refused.status_code == status, refused.text
    assert _events(broker) == []


async def test_one_owner_cannot_flood_the_simulator_from_the_console(http, bearer, broker):
    """Requests of the console pass no edge, whose quotas would hold them back."""
    asked = [
        await http.post("/api/simulations", headers=bearer("operate"), json=WORK)
        for _ in range(REQUESTS_MAX + 1)
    ]
    assert [one.status_code for one in asked] == [202] * REQUESTS_MAX + [429]
    assert len(_events(broker)) == REQUESTS_MAX
