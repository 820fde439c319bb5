"""Cancelling a simulation from the console: an ordinary request record for the pipeline."""

from __future__ import annotations

import pytest

from agents.app import SIMULATION_REQUEST
from agents.simulate_decision import ask
from streams.core.clock import SystemClock
from streams.core.types import RecordBatch, TopicPartition
from streams.engine.decode.codecs import Limits, decode

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
