"""Edges of two regions: one serves, and a load balancer can tell which."""

from __future__ import annotations

from dataclasses import replace

import httpx
import pytest

from agents.app import app
from streams.connect.broker.memory.broker import MemoryBroker
from streams.core.clock import VirtualClock
from streams.http.region import RegionGate
from streams.operate.regions.failover import RegionSwitch
from streams.operate.regions.watch import RegionWatch
from streams.operate.regions.word import journal_topic
from tests.unit.http.edge.conftest import _event

LEASE_S = 30.0
POST = "/v1/events/model.metrics"


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
async def brokers(clock) -> dict[str, MemoryBroker]:
    found = {name: MemoryBroker(clock) for name in ("east", "west")}
    for broker in found.values():
        await (await broker.admin()).create_topics([journal_topic(app.topology.app)])
    return found


@pytest.fixture
def watch(brokers, clock) -> RegionWatch:
    return RegionWatch("east", brokers, app.topology.app, clock, LEASE_S)


@pytest.fixture
async def http(process, tokens, watch):
    """A client of an edge of the region east."""
    process._edge = replace(process._edge, region=RegionGate(watch))
    transport = httpx.ASGITransport(process.app())
    headers = {"Authorization": f"Bearer {tokens['operate']}"}
    async with httpx.AsyncClient(
        transport=transport, base_url="http://edge", headers=headers
    ) as client:
        yield client


async def _made_active(brokers, clock, name):
    await RegionSwitch(brokers, app.topology, clock, LEASE_S).begin(name, "test")


async def test_the_edge_of_the_active_region_takes_events(http, watch, brokers, clock):
    """Both clients and the load balancer see that it serves."""
    await _made_active(brokers, clock, "east")
    await watch.look()
    assert (await http.post(POST, json=_event())).status_code == 202
    health = await http.get("/health/region")
    assert (health.status_code, health.json()["active"]) == (200, "east")


async def test_an_edge_of_another_region_refuses_before_it_reads(http, watch, brokers, clock):
    """Also a body that no edge could read: the answer is that of the region."""
    await _made_active(brokers, clock, "west")
    await watch.look()
    answer = await http.post(POST, content=b"{")
    assert (answer.status_code, answer.json()["code"]) == (503, "region_not_active")
    assert answer.headers["Retry-After"] == "5"
    health = await http.get("/health/region")
    assert (health.status_code, health.json()["active"]) == (503, "west")


async def test_an_edge_whose_lease_ended_refuses(http, watch, brokers, clock):
    """Its region may have been replaced meanwhile: after the lease it does not know."""
    await _made_active(brokers, clock, "east")
    await watch.look()
    await clock.advance(LEASE_S)
    answer = await http.post(POST, json=_event())
    assert (answer.status_code, answer.json()["code"]) == (503, "region_unknown")
    assert (await http.get("/health/region")).status_code == 503


async def test_an_edge_that_has_not_asked_refuses(http):
    """After a start it knows nothing: its region may have been replaced while it was away."""
    assert (await http.post(POST, json=_event())).json()["code"] == "region_unknown"


async def test_without_regions_every_edge_serves(process, tokens):
    """A pipeline of one region has no word to ask for."""
    transport = httpx.ASGITransport(process.app())
    async with httpx.AsyncClient(transport=transport, base_url="http://edge") as client:
        health = await client.get("/health/region")
    assert (health.status_code, health.json()["serves"]) == (200, True)
