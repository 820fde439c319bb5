"""Pages over HTTP: tokens, limits, a real listening port, and forwarding to the worker that owns
the key.
"""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import asynccontextmanager

import httpx
import pytest

from streams.connect.access.refusals import KeyNotLocal
from streams.connect.access.tokens import Role, TokenFile
from streams.core.clock import SystemClock
from streams.core.process.listener import bound
from streams.core.process.proxies import DIRECT
from streams.core.settings import Settings
from streams.core.telemetry.metrics import Metrics
from streams.engine.pages import serving
from streams.engine.pages.desk import FORWARDED
from streams.engine.pages.owners import WorkersHere
from streams.engine.pages.page_tables import KeyPlace
from streams.engine.pages.serving import BODY_MAX_BYTES, PageSite
from streams.engine.streams.page import PageRequest, PageResponse


class Handler:
    """Answers with the request it got, or refuses."""

    def __init__(self):
        self.asked = []
        self.arrived = asyncio.Semaphore(0)
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def answer(self, request):
        self.asked.append(request)
        if request.path == "/elsewhere":
            raise KeyNotLocal("on another host", retry_after_s=1.0)
        if request.path == "/waits":
            self.arrived.release()
            await self.go_on.wait()
        said = {"path": request.path, "query": dict(request.query), "tenant": request.tenant}
        return PageResponse(json.dumps(said).encode() + request.body, 201)


@asynccontextmanager
async def _site(home):
    settings, clock = Settings(home=str(home)), SystemClock()
    listener = bound("127.0.0.1", 0, "DIA_PAGES_PORT")
    desk = Handler()
    site = PageSite(desk, listener, settings, clock, Metrics())
    port = listener.getsockname()[1]
    site.start()
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{port}", timeout=60, mounts=DIRECT
    ) as client:
        try:
            yield desk, client, port
        finally:
            await site.stop()


def _token(home, tenant=None, role=Role.ADMIN):
    file = TokenFile.of(home)
    _, text = file.create(tenant=tenant, role=role, now_ms=SystemClock().now_ms())
    return {"Authorization": f"Bearer {text}"}


async def test_a_page_is_answered_to_a_valid_token(tmp_path):
    """The page gets the tenant of the token; the response is not cacheable and has a fixed content
    type.
    """
    async with _site(tmp_path) as (desk, client, _):
        assert (await client.get("/a")).status_code == 401
        wrong = {"Authorization": "Bearer dia_00000000_" + "x" * 43}
        assert (await client.get("/a", headers=wrong)).json()["code"] == "unauthenticated"
        assert desk.asked == []
        for tenant, role in ((None, Role.ADMIN), ("t", Role.READ)):
            answered = await client.get("/a/b?x=1", headers=_token(tmp_path, tenant, role))
            assert answered.status_code == 201
            assert answered.json() == {"path": "/a/b", "query": {"x": "1"}, "tenant": tenant}
            assert answered.headers["cache-control"] == "no-store"
            assert answered.headers["x-content-type-options"] == "nosniff"
        await client.get("/a/%62%2Fc%20d?x=%2F", headers=_token(tmp_path))
        assert (desk.asked[-1].path, desk.asked[-1].encoded) == ("/a/b/c d", "/a/b%2Fc%20d")


async def test_refusals_are_problem_documents(tmp_path):
    """Clients read the code and the time of the next attempt."""
    async with _site(tmp_path) as (_, client, _):
        shown = _token(tmp_path)
        answered = await client.get("/elsewhere", headers=shown)
        assert (answered.status_code, answered.headers["retry-after"]) == (503, "1")
        assert answered.json()["code"] == "key_elsewhere"
        large = await client.post("/a", headers=shown, content=b"x" * (BODY_MAX_BYTES + 1))
        assert large.json()["code"] == "body_too_large"
        fits = await client.post("/a", headers=shown, content=b"x" * BODY_MAX_BYTES)
        assert fits.status_code == 201


async def test_requests_of_a_token_are_limited(tmp_path, monkeypatch):
    """A page runs in the worker's event loop, so unlimited requests would delay records."""
    monkeypatch.setattr(serving, "REQUESTS", 3)
    monkeypatch.setattr(serving, "PERIOD_S", 1e6)
    async with _site(tmp_path) as (desk, client, _):
        shown = _token(tmp_path)
        codes = [(await client.get("/a", headers=shown)).status_code for _ in range(4)]
        assert codes == [201, 201, 201, 429]
        assert len(desk.asked) == 3
        other = await client.get("/a", headers=_token(tmp_path))
        assert other.status_code == 201


async def test_a_request_that_changes_data_needs_the_role_operate(tmp_path):
    """A page may send to a topic, which a read-only token must not do."""
    async with _site(tmp_path) as (desk, client, _):
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            refused = await client.request(method, "/a", headers=_token(tmp_path, "t", Role.READ))
            assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
            assert desk.asked == []
            taken = await client.request(method, "/a", headers=_token(tmp_path, "t", Role.OPERATE))
            assert taken.status_code == 201
            desk.asked.clear()


async def test_the_tokens_of_a_tenant_share_its_limit(tmp_path, monkeypatch):
    """Otherwise a tenant with ten tokens gets ten times the share of the worker's event loop."""
    monkeypatch.setattr(serving, "REQUESTS", 3)
    monkeypatch.setattr(serving, "PERIOD_S", 1e6)
    async with _site(tmp_path) as (_, client, _):
        shown = [_token(tmp_path, "t", Role.READ) for _ in range(4)]
        codes = [(await client.get("/a", headers=token)).status_code for token in shown]
        assert codes == [201, 201, 201, 429]
        other = await client.get("/a", headers=_token(tmp_path, "u", Role.READ))
        assert other.status_code == 201


async def test_pages_that_wait_for_one_tenant_leave_room_for_another(tmp_path, monkeypatch):
    """A page may wait 15 s for a commit, and each waiting request takes memory and loop time."""
    monkeypatch.setattr(serving, "RUNNING_MAX", 8)
    async with _site(tmp_path) as (desk, client, _):
        desk.go_on.clear()
        mine = _token(tmp_path, "t", Role.READ)
        waiting = [asyncio.create_task(client.get("/waits", headers=mine)) for _ in range(4)]
        for _ in waiting:
            await desk.arrived.acquire()
        refused = await client.get("/waits", headers=_token(tmp_path, "t", Role.READ))
        assert (refused.status_code, refused.json()["code"]) == (429, "overloaded")
        assert int(refused.headers["retry-after"]) >= 1
        other = await client.get("/a", headers=_token(tmp_path, "u", Role.READ))
        assert other.status_code == 201
        desk.go_on.set()
        assert {answer.status_code for answer in await asyncio.gather(*waiting)} == {201}
        assert (await client.get("/waits", headers=mine)).status_code == 201


def _worker_file(state, slot, port, *, phase="ready", pid=None):
    folder = state / "workers"
    folder.mkdir(exist_ok=True)
    held = {"group": "g", "topic": "orders", "partition": 3, "phase": phase, "lag": 0}
    told = {"pid": pid or os.getpid(), "slot": slot, "pages_port": port, "partitions": [held]}
    (folder / f"{slot}.json").write_text(json.dumps(told))


async def test_a_request_is_forwarded_to_the_owner_with_the_clients_token(tmp_path):
    """That worker checks the token itself; its answer is forwarded unchanged."""
    async with _site(tmp_path) as (desk, _, port):
        _worker_file(tmp_path, 1, port)
        shown = {name.lower(): text for name, text in _token(tmp_path).items()}
        request = PageRequest(
            *("POST", "/a/b?c=1#d%e ü/"),
            query={"x": "1 2"},
            headers=shown | {"cookie": "c"},
            body=b"!",
            encoded="/a/b%3Fc%3D1%23d%25e%20%C3%BC%2F",
        )
        answered = await WorkersHere(tmp_path, 0, "127.0.0.1").ask(
            KeyPlace("g", "orders", 3), request
        )
        assert answered.status == 201
        [asked] = desk.asked
        assert (asked.path, asked.query) == (request.path, request.query)
        assert asked.encoded == request.encoded
        assert answered.body.endswith(b"!")
        assert asked.headers[FORWARDED] == "1"
        assert "cookie" not in asked.headers


@pytest.mark.parametrize(
    ("slot", "place", "more"),
    [
        (1, KeyPlace("g", "orders", 2), {}),
        (0, KeyPlace("g", "orders", 3), {}),
        (1, KeyPlace("g", "orders", 3), {"phase": "restoring"}),
        (1, KeyPlace("g", "orders", 3), {"pid": 2**22 + 1}),
        (1, KeyPlace("g", "orders", 3), {}),
    ],
    ids=["another_partition", "itself", "not_open", "dead", "no_answer"],
)
async def test_a_request_is_not_forwarded_without_a_known_owner(tmp_path, slot, place, more):
    """The client gets a retry-after instead: another worker would answer from another partition."""
    _worker_file(tmp_path, slot, 1, **more)
    request = PageRequest("GET", "/a")
    assert await WorkersHere(tmp_path, 0, "127.0.0.1").ask(place, request) is None
