"""Shedding from the console: a plan first, an audited order, and no data of tenants."""

from __future__ import annotations

import asyncio
import json

import pytest

from agents.app import DIA_GROUP, MODEL_METRICS, SIMULATION_REQUEST, TRAIN_RESULTS
from streams.core.types import TopicPartition
from streams.engine.runtime.offsets.shed_order import read_orders
from streams.http.console import shedding

HERE = TopicPartition(MODEL_METRICS.name, 0)
PLAN = {"topic": "model.metrics", "before": "2100-01-01"}


@pytest.fixture
async def backlog(broker):
    """Four unread records, all in one partition."""
    for _ in range(4):
        broker.log(HERE).append(broker._cluster.entry(HERE, b"acme", b"{}", (), None))


async def orders(broker):
    return await read_orders(await broker.admin(), DIA_GROUP, [HERE])


async def test_a_plan_changes_nothing_and_states_its_consequences(http, bearer, broker, backlog):
    """The same sentences as `dia shed plan`."""
    answer = await http.post("/api/shed/plan", headers=bearer("admin"), json=PLAN)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    part = found["partitions"][0]
    assert (found["shed"], part["from_offset"], part["to_offset"]) == (4, 0, 4)
    assert any("would not be processed" in text for text in found["consequences"])
    assert await orders(broker) == {}


async def test_an_order_is_made_audited_and_listed(http, bearer, broker, backlog, tmp_path):
    """The audit has author, time, offsets and reason, before the order and after it."""
    body = {**PLAN, "reason": "a dead client"}
    answer = await http.post("/api/shed/orders", headers=bearer("admin"), json=body)
    assert answer.status_code == 202, answer.text
    order = (await orders(broker))[HERE]
    assert (order.id, order.until, order.reason) == (answer.json()["order"], 4, "a dead client")
    assert order.actor.startswith("token-")
    listed = (await http.get("/api/shed/orders", headers=bearer("admin"))).json()
    assert {MODEL_METRICS.name, TRAIN_RESULTS.name} <= set(listed["topics"])
    assert SIMULATION_REQUEST.name not in listed["topics"]
    assert [(one["state"], one["actor"]) for one in listed["orders"]] == [("waiting", order.actor)]
    [log] = (tmp_path / "access").glob("operations-*.jsonl")
    said = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(one["action"], one["outcome"]) for one in said] == [
        ("shed_order", "begun"),
        ("shed_order", "done"),
    ]
    subject = said[0]["subject"]
    assert (subject["offsets"], subject["reason"]) == ({"0": [0, 4]}, "a dead client")


async def test_a_waiting_order_is_withdrawn(http, bearer, broker, backlog):
    """A second withdrawal finds no order."""
    body = {**PLAN, "reason": "x"}
    assert (await http.post("/api/shed/orders", headers=bearer("admin"), json=body)).is_success
    asked = {"topic": "model.metrics"}
    first = await http.post("/api/shed/withdraw", headers=bearer("admin"), json=asked)
    assert (first.status_code, first.json()["withdrawn"]) == (200, 1)
    assert (await orders(broker))[HERE].withdrawn
    again = await http.post("/api/shed/withdraw", headers=bearer("admin"), json=asked)
    assert again.status_code == 409


JOBS = TopicPartition(SIMULATION_REQUEST.name, 1)


@pytest.mark.parametrize("where", [HERE, JOBS], ids=["batch agent", "job agent"])
async def test_an_unreadable_batch_is_skipped_as_by_the_command(http, bearer, broker, where):
    """The batch stops its partition until an operator orders a skip, which the console must
    support.
    """
    log = broker.log(where)
    for _ in range(4):
        log.append(broker._cluster.entry(where, b"acme", b"{}", (), None))
    log.spoil(1, 3)
    asked = {"topic": where.topic, "unreadable": True}
    plan = await http.post("/api/shed/plan", headers=bearer("admin"), json=asked)
    assert plan.status_code == 200, plan.text
    found = plan.json()
    part = found["partitions"][where.partition]
    assert (part["from_offset"], part["to_offset"], found["shed"]) == (1, 3, 2)
    assert part["unreadable"]
    assert found["before_ms"] is None
    body = {**asked, "reason": "a broken client"}
    answer = await http.post("/api/shed/orders", headers=bearer("admin"), json=body)
    assert answer.status_code == 202, answer.text
    [listed] = (await http.get("/api/shed/orders", headers=bearer("admin"))).json()["orders"]
    assert (listed["topic"], listed["to_offset"], listed["state"]) == (where.topic, 3, "waiting")
    taken = {"topic": where.topic}
    assert (await http.post("/api/shed/withdraw", headers=bearer("admin"), json=taken)).is_success


async def test_a_log_that_takes_too_long_to_read_names_the_command(http, bearer, monkeypatch):
    """A browser must not wait for a read of hours."""

    async def endless(*args):
        await asyncio.Event().wait()

    monkeypatch.setattr(shedding, "plan_unreadable", endless)
    monkeypatch.setattr(shedding, "UNREADABLE_S", 0.01)
    asked = {"topic": "model.metrics", "unreadable": True}
    answer = await http.post("/api/shed/plan", headers=bearer("admin"), json=asked)
    assert answer.status_code == 409
    assert "dia shed plan --topic model.metrics --unreadable" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({**PLAN, "reason": " "}, 400),
        ({**PLAN, "reason": "x" * 301}, 400),
        ({**PLAN, "reason": "x", "before": "long ago"}, 400),
        ({**PLAN, "reason": "x", "partition": [99]}, 400),
        ({**PLAN, "reason": "x", "topic": "decision.simulation.request"}, 400),
        ({**PLAN, "reason": "x", "before": "1970-01-02"}, 409),
        ({**PLAN, "reason": "x", "unreadable": True}, 400),
        ({"topic": "model.metrics", "reason": "x"}, 400),
        ({"topic": "orders", "reason": "x", "unreadable": True}, 400),
        ({"topic": "model.metrics", "reason": "x", "unreadable": True}, 409),
    ],
)
async def test_an_invalid_order_is_refused(http, bearer, broker, backlog, body, status):
    """The answer names the reason, and no order is made."""
    answer = await http.post("/api/shed/orders", headers=bearer("admin"), json=body)
    assert answer.status_code == status, answer.text
    assert await orders(broker) == {}
