"""Limits of one sender's use of an edge, and the share left to others."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import fields, replace

import httpx
import pytest
from starlette.requests import Request

from streams.connect.access.attempts import ADDRESS_MAX, PERIOD_S, TOKEN_MAX, Attempts
from streams.connect.access.connections import client_site
from streams.connect.access.holds import HOLD_MAX_S, HoldCheck, MemoryHolds
from streams.connect.access.quotas import Quota, Quotas
from streams.connect.access.refusals import TooManyAttempts
from streams.connect.access.request_rate import CLIENTS_MAX
from streams.core.clock import VirtualClock
from streams.core.errors import CacheUnavailable
from streams.core.resilience.breaker import Breaker, BreakerPolicy
from streams.core.settings import Settings
from streams.core.telemetry.metrics import Metrics
from streams.http.edge.body import BodyMemory
from streams.http.edge.exchange import EVENTS_MAX, REJECTED_MAX

METRICS = "/v1/events/model.metrics"
LINES = {"Content-Type": "application/x-ndjson"}


@pytest.fixture
def other_tenant(tokens) -> dict[str, str]:
    """Headers of another tenant."""
    return {**LINES, "Authorization": f"Bearer {tokens['stranger']}"}


@asynccontextmanager
async def _with(process, http, **parts):
    """A client like ``http`` on an edge with other parts."""
    process._edge = replace(process._edge, **parts)
    transport = httpx.ASGITransport(process.app())
    async with httpx.AsyncClient(
        transport=transport, base_url="http://edge", headers=http.headers
    ) as client:
        yield client


def _standing(process) -> Quotas:
    """Quotas that never refill, as the clock does not move."""
    limits = process._edge.quotas._limits
    return Quotas(VirtualClock(), process.metrics.edge, limits=limits)


class SlowBody:
    """A body that sends one part, and the rest when the test says so."""

    def __init__(self, first: bytes, rest: bytes = b"") -> None:
        self._parts = (first, rest)
        self.began, self.goes_on = asyncio.Event(), asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._parts[0]
        self.began.set()
        await self.goes_on.wait()
        yield self._parts[1]


@asynccontextmanager
async def _uploading(http, bodies, headers):
    """The running requests, each with its first part read."""
    asked = [
        asyncio.create_task(http.post(METRICS, content=one.__aiter__(), headers=headers))
        for one in bodies
    ]
    for one in bodies:
        await one.began.wait()
    yield asked
    for one in bodies:
        one.goes_on.set()
    await asyncio.gather(*asked)


async def test_uploads_that_send_one_byte_hold_one_byte(http, line, other_tenant):
    """Sixteen of them must not hold all the memory for bodies for 30 s."""
    bodies = [SlowBody(b" ", line()) for _ in range(64)]
    async with _uploading(http, bodies, LINES) as asked:
        answer = await http.post(METRICS, content=line(tenant_id="globex"), headers=other_tenant)
        assert answer.status_code == 202
    assert {one.result().status_code for one in asked} == {202}


async def test_uploads_of_one_tenant_leave_room_to_another(http, process, line, other_tenant):
    """An upload that lacks its last byte holds the bytes it sent, up to its tenant's share."""
    async with _with(process, http, room=BodyMemory(1000)) as fresh:
        bodies = [SlowBody(b" " * 240, line()) for _ in range(2)]
        async with _uploading(fresh, bodies, LINES):
            refused = await fresh.post(METRICS, content=b" " * 100, headers=LINES)
            assert (refused.status_code, refused.json()["code"]) == (429, "overloaded")
            assert int(refused.headers["retry-after"]) >= 1
            other = line(tenant_id="globex")
            answer = await fresh.post(METRICS, content=other, headers=other_tenant)
            assert answer.status_code == 202
        assert (await fresh.post(METRICS, content=line(), headers=LINES)).status_code == 202


async def test_a_declared_length_reserves_no_memory(http, process, line, other_tenant):
    """A declared length of 2 MiB costs the sender nothing, so it must not reserve memory."""

    async def never():
        await asyncio.Event().wait()
        yield b""

    headers = {**LINES, "Content-Length": str(1 << 21)}
    asked = [
        asyncio.create_task(http.post(METRICS, content=never(), headers=headers)) for _ in range(64)
    ]
    await asyncio.sleep(0)
    answer = await http.post(METRICS, content=line(tenant_id="globex"), headers=other_tenant)
    assert answer.status_code == 202
    for one in asked:
        one.cancel()
    await asyncio.gather(*asked, return_exceptions=True)


@pytest.mark.parametrize("quota", [Quota.EVENTS, Quota.BYTES, Quota.REQUESTS])
async def test_each_quota_belongs_to_the_tenant_and_gives_a_retry_after(
    http, process, line, tokens, other_tenant, quota
):
    """It applies to all tokens of the tenant and to no other tenant."""
    quotas = _standing(process)
    await quotas.take("tenant acme", {quota: quotas._limits[quota]})
    async with _with(process, http, quotas=quotas) as client:
        answer = await client.post(METRICS, content=line(), headers=LINES)
        code = "rate_limited" if quota is Quota.REQUESTS else "over_quota"
        assert (answer.status_code, answer.json()["code"]) == (429, code)
        assert int(answer.headers["retry-after"]) >= 1
        answer = await client.post(METRICS, content=line(tenant_id="globex"), headers=other_tenant)
        assert answer.status_code == 202
        everyone = {**LINES, "Authorization": f"Bearer {tokens['admin']}"}
        assert (await client.post(METRICS, content=line(), headers=everyone)).status_code == 202


async def test_simulations_have_a_quota_of_their_own(http, process):
    """A simulation may take a minute of a processor, an event microseconds."""
    quotas = _standing(process)
    await quotas.take("tenant acme", {Quota.SIMULATIONS: quotas._limits[Quota.SIMULATIONS]})
    async with _with(process, http, quotas=quotas) as client:
        answer = await client.post("/v1/events/decision.simulation.request", json={})
        assert (answer.status_code, answer.json()["code"]) == (429, "over_quota")
        assert (await client.post(METRICS, json={})).status_code == 422


async def test_a_held_tenant_gets_429_for_simulations_until_the_hold_ends(
    http, process, line, tokens
):
    """Workers hold the tenant while its share of the queue is used up. Its events and other tenants
    go on.
    """
    clock = VirtualClock()
    holds = MemoryHolds(clock)
    policy = BreakerPolicy(failures=5, open_s=10.0, successes=1)
    breaker = Breaker("redis", policy, (CacheUnavailable,), clock, Metrics())
    await holds.hold("acme", 17.0)
    simulations = "/v1/events/decision.simulation.request"
    async with _with(process, http, holds=HoldCheck(holds, breaker)) as client:
        answer = await client.post(simulations, json={})
        assert (answer.status_code, answer.json()["code"]) == (429, "over_quota")
        assert answer.headers["retry-after"] == "17"
        assert (await client.post(METRICS, content=line(), headers=LINES)).status_code == 202
        other = {"Authorization": f"Bearer {tokens['stranger']}"}
        assert (await client.post(simulations, json={}, headers=other)).status_code == 422
        holds.away = True
        assert (await client.post(simulations, json={})).status_code == 422
        holds.away = False
        await clock.advance(17.0)
        assert (await client.post(simulations, json={})).status_code == 422
        # No worker holds a tenant for so long: another client of Redis wrote the entry.
        await holds.hold("acme", HOLD_MAX_S + 1)
        assert (await client.post(simulations, json={})).status_code == 422


def test_the_largest_request_fits_into_the_smallest_quota():
    """Otherwise its sender would wait without end."""
    assert _bound("edge_events", "low") >= EVENTS_MAX
    assert _bound("edge_simulations", "low") >= EVENTS_MAX
    assert _bound("edge_bytes", "low") >= _bound("edge_body_bytes", "high")
    assert _bound("edge_inflight_bytes", "low") >= 2 * _bound("edge_body_bytes", "high")


def _bound(name: str, which: str) -> int:
    found = {one.name: one.metadata for one in fields(Settings)}
    return found[name][which]


async def test_the_answer_to_a_small_body_is_bounded(http):
    """The answer has some hundred bytes for each refused event: 20 kB would get an answer of 1 MB."""
    answer = await http.post(METRICS, content=b"1\n" * EVENTS_MAX, headers=LINES)
    assert answer.status_code == 422
    found = answer.json()
    assert [bad["index"] for bad in found["rejected"]] == [*range(REJECTED_MAX)]
    assert (found["rejected_total"], found["not_judged"]) == (
        REJECTED_MAX,
        EVENTS_MAX - REJECTED_MAX,
    )


async def test_the_answer_names_no_more_where_a_slice_refuses_more(http, line):
    """Events are validated in slices, so more are refused than an answer may name."""
    body = line(event_id="valid") + b"\n" + b"1\n" * (EVENTS_MAX - 1)
    answer = await http.post(METRICS, content=body, headers=LINES)
    found = answer.json()
    assert found["rejected_total"] > REJECTED_MAX
    assert [bad["index"] for bad in found["rejected"]] == [*range(1, REJECTED_MAX + 1)]


async def test_wrong_tokens_of_one_address_are_limited(process, line, tokens):
    """A flood must not fill the log; a valid token from the same address still works."""
    transport = httpx.ASGITransport(process.app(), client=("192.0.2.1", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://edge") as client:
        wrong = {"Authorization": "Bearer dia_00000000_" + "x" * 43}
        codes = [(await client.get("/v1/simulations/k", headers=wrong)) for _ in range(110)]
        assert [one.status_code for one in codes] == [401] * ADDRESS_MAX + [429] * 10
        assert codes[-1].json()["code"] == "too_many_attempts"
        assert int(codes[-1].headers["retry-after"]) >= 1
        assert codes[-1].headers["connection"] == "close"
        right = {**LINES, "Authorization": f"Bearer {tokens['operate']}"}
        assert (await client.post(METRICS, content=line(), headers=right)).status_code == 202
    transport = httpx.ASGITransport(process.app(), client=("192.0.2.2", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://edge") as client:
        assert (await client.get("/v1/simulations/k", headers=wrong)).status_code == 401


async def test_attempts_are_counted_by_token_id_and_address():
    """Attempts on an id from one address lock out no other address, and expire after the period."""
    clock = VirtualClock()
    attempts = Attempts(clock)
    for _ in range(TOKEN_MAX):
        attempts.require("a", "id")
        attempts.failed("a", "id")
    with pytest.raises(TooManyAttempts) as refused:
        attempts.require("a", "id")
    attempts.require("b", "id")
    attempts.require("a", "other")
    await clock.advance(refused.value.retry_after_s)
    attempts.require("a", "id")
    await clock.advance(PERIOD_S)
    for number in range(ADDRESS_MAX):
        attempts.failed("a", f"id{number}")
    with pytest.raises(TooManyAttempts):
        attempts.require("a", "never named")


def test_a_flood_of_addresses_takes_bounded_memory_and_locks_out_no_client():
    """Addresses beyond the bound are not counted."""
    attempts = Attempts(VirtualClock())
    for number in range(CLIENTS_MAX + 100):
        attempts.failed(f"address {number}", "id")
    attempts.require("another", "id")
    attempts.failed("another", "id")
    assert len(attempts._addresses._empty_at) == len(attempts._tokens._empty_at) == CLIENTS_MAX


@pytest.mark.parametrize(
    ("behind_proxy", "forwarded", "site"),
    [
        (False, ["198.51.100.7"], "192.0.2.1"),
        (True, [], "192.0.2.1"),
        (True, ["198.51.100.7"], "198.51.100.7"),
        (True, ["203.0.113.9, 198.51.100.7"], "198.51.100.7"),
        (True, ["203.0.113.9", "198.51.100.7"], "198.51.100.7"),
        (True, ["x" * 100], "x" * 64),
        (True, ["2001:db8::1"], "2001:db8::/64"),
    ],
)
def test_only_the_last_address_that_a_proxy_names_counts(behind_proxy, forwarded, site):
    """The client wrote the entries before it."""
    headers = [(b"x-forwarded-for", one.encode()) for one in forwarded]
    request = Request({"type": "http", "headers": headers, "client": ("192.0.2.1", 1)})
    assert client_site(request, behind_proxy=behind_proxy) == site


async def test_the_description_is_encoded_once(http):
    """The description is public, so it is encoded once."""
    answers = [await http.get("/openapi.json") for _ in range(2)]
    assert answers[0].content == answers[1].content
    assert json.loads(answers[0].content)["openapi"] == "3.1.0"
