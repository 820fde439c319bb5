"""Law: no route of an edge or a console lets a token or a session of one tenant reach another's.

The routes are those of the applications themselves. A new one without a request in `BODIES`, or in
`KNOWN`, fails here before it is served."""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.routing import Route

from agents.app import MODEL_METRICS, app
from streams.connect.access.tokens import AccessToken, Role, TokenFile
from streams.connect.broker.memory.broker import MemoryBroker
from streams.connect.sinks.shard_maps import assumed
from streams.core.clock import SystemClock
from streams.core.errors import ShardUnavailable
from streams.core.settings import Settings
from streams.core.telemetry.metrics import Metrics
from streams.core.types import TopicPartition
from streams.http.console.serving import ConsoleProcess
from streams.http.console.shards import ShardReader
from streams.http.edge.serving import EdgeProcess
from streams.operate.topics.topics import wanted_topics
from tests.depth import cases
from tests.unit.operate.dlq.mailbag import GOOD, fill, letter

OWN, OTHER = "acme", "globex"
SECRET = "zwartgoud"
"""A word that is only in what belongs to the other tenant."""
TOPIC = MODEL_METRICS.name
PERSON = "person"
CALLERS = ("read", "operate", "admin", PERSON)

KNOWN = {
    "console": {
        "/", "/messages", "/trace", "/dead-letters", "/explore", "/decisions", "/training", "/pipeline",
        "/data", "/capacity", "/sign-in", "/static/{digest}/{name:path}", "/live/overview",
        "/live/pipeline", "/live/plans/{plan}", "/live/messages", "/session", "/overview",
        "/api/tenants", "/api/models", "/api/metrics", "/api/series", "/api/range",
        "/api/simulations", "/api/training", "/api/pipeline", "/api/data", "/api/capacity",
        "/api/capacity/forecast", "/api/history", "/api/tenants/top", "/api/ranking", "/api/dlq/groups",
        "/api/dlq/letters", "/api/dlq/letter", "/api/dlq/plans", "/api/dlq/plans/{plan}",
        "/api/names", "/api/windows", "/api/topics", "/api/topics/{topic}", "/api/messages", "/api/message", "/api/trace",
        "/api/shed/orders", "/api/views", "/openapi.json", "/healthz", "/health/region",
    },
    "edge": {"/v1/simulations/{key:path}", "/healthz", "/openapi.json", "/health/region"},
}  # fmt: skip
"""Routes that are read, by application."""


def _bodies(world: World) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Requests that change something, by application and path: each names what the other has."""
    why = {"reason": "mine"}
    work = {"model_id": "m", "scenario": "monte_carlo", "parameters": {"outcome": "x"}, "trials": 1}
    return {
        "console": {
            "/session": [{"token": "dia_00000000_" + "x" * 43}],
            "/session/end": [{}],
            "/api/simulations": [{**work, "tenant": OTHER}, work],
            "/api/simulations/cancel": [
                {"idempotency_key": "k", "model_id": "m", "tenant": OTHER},
                {"idempotency_key": "k", "model_id": "m"},
            ],
            "/api/dlq/decisions": [
                {"decision": one, "most": 99, **why, **chosen}
                for one in ("discard", "park")
                for chosen in ({"tenant": [OTHER]}, {"letters": [world.letter]}, {})
            ],
            "/api/dlq/plans": [{"tenant": [OTHER]}, {"letters": [world.letter]}, {}],
            **{
                f"/api/dlq/plans/{{plan}}/{word}": [{}, why]
                for word in ("submit", "pause", "resume", "cancel")
            },
            "/api/message/again": [{"place": world.place, **why}],
            "/api/shed/plan": [{"topic": TOPIC, "before": "now"}],
            "/api/shed/orders": [{"topic": TOPIC, "before": "now", **why}],
            "/api/shed/withdraw": [{"topic": TOPIC}],
            "/admin/cache/invalidate": [{"cache": "series", "pattern": "*"}],
            "/admin/policy/changed": [{"tenant_id": OTHER, "policy_id": "p"}],
            "/api/views": [{"name": "v", "address": f"/explore?tenant={OTHER}"}],
            "/api/views/delete": [{"id": world.view}],
        },
        "edge": {
            "/v1/events/{topic}": [world.event(OTHER), world.event(OWN)],
            "/v1/metrics": [_otlp(OTHER)],
            "/api/v1/write": [{}],
        },
    }


def _otlp(tenant: str) -> dict[str, Any]:
    point = {"asInt": "1", "timeUnixNano": f"{SystemClock().now_ms()}000000"}
    named = {"key": "dia.tenant", "value": {"stringValue": tenant}}
    model = {"key": "service.name", "value": {"stringValue": "m"}}
    metric = {"name": "x", "gauge": {"dataPoints": [point]}}
    return {
        "resourceMetrics": [
            {
                "resource": {"attributes": [named, model]},
                "scopeMetrics": [{"metrics": [metric]}],
            }
        ]
    }


class World:
    """An edge and a console on parts in memory, in which both tenants have something."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.settings = Settings(home=str(home), clickhouse_shards="http://127.0.0.1:9")
        self.clock = SystemClock()
        file, now_ms = TokenFile.of(home), self.clock.now_ms()
        self.tokens = {
            (tenant, role.name.lower()): file.create(tenant=tenant, role=role, now_ms=now_ms)[1]
            for tenant in (OWN, OTHER)
            for role in Role
        }
        self.broker = MemoryBroker(self.clock)
        self.asked: list[tuple[str, Mapping[str, Any]]] = []
        """questions to ClickHouse, with their parameters"""
        self.simulated: list[str] = []
        self.letter = self.place = self.plan = self.draft = self.view = ""

    async def open(self) -> None:
        await (await self.broker.admin()).create_topics(wanted_topics(app.topology))
        theirs = GOOD.replace(b"acme", OTHER.encode()).replace(b'"m"', f'"{SECRET}"'.encode())
        await fill(
            self.broker,
            letter(1, GOOD, "retries_exhausted", "why"),
            letter(2, theirs, "retries_exhausted", SECRET, key=OTHER.encode()),
        )
        place = await self._written(OTHER, SECRET)
        await self._written(OWN, "m")
        self.place = f"{place.topic}/{place.partition}/0"
        made = self.settings
        self.edge = EdgeProcess(made, app.topology, self.broker, self.clock, Metrics())
        self.edge._simulations.results = self._results  # type: ignore[method-assign]
        self.console = ConsoleProcess(made, app, self.broker, self.clock, Metrics())
        self.apps = {"console": self.console.app(), "edge": self.edge.app()}
        gate = self.console.console.gate
        person = AccessToken(
            id="oidc-1", tenant=OWN, role="admin", sha256="", created_ms=0, name="alice"
        )
        self.cookie = gate.sessions.begin(person, id_token="")
        self.csrf = gate.sessions.find(self.cookie).csrf  # type: ignore[union-attr]
        listed = await self.other("GET", "/api/dlq/letters")
        self.letter = listed["letters"][0]["id"]
        self.draft, self.plan = [
            (await self.other("POST", "/api/dlq/plans", {}))["plan"] for _ in range(2)
        ]
        await self.other("POST", f"/api/dlq/plans/{self.plan}/submit", {})
        view = {"name": SECRET, "address": "/explore"}
        self.view = (await self.other("POST", "/api/views", view))["id"]

    async def _written(self, tenant: str, model: str) -> Any:
        producer = self.broker.plain_producer()
        await producer.start()
        value = json.dumps(self.event(tenant) | {"model_id": model}).encode()
        sent = await producer.send(TOPIC, tenant.encode(), value, ())
        found = await sent
        await producer.close()
        return found

    def event(self, tenant: str) -> dict[str, Any]:
        now_ms = self.clock.now_ms()
        return {"tenant_id": tenant, "model_id": "m", "metric": "x", "ts": now_ms, "value": 1.0}

    async def _results(self, tenant: str, key: str) -> list[dict[str, Any]]:
        self.simulated.append(tenant)
        return [{"model": SECRET}] if tenant == OTHER else []

    async def other(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """What the other tenant gets."""
        headers = {"authorization": f"Bearer {self.tokens[OTHER, 'admin']}"}
        status, content = await requested(self.apps["console"], method, path, headers, body)
        assert status < 300, content
        return json.loads(content)

    async def still_drafted(self) -> bool:
        """The other tenant's draft is neither gone nor submitted: it waits for the first plan."""
        headers = {"authorization": f"Bearer {self.tokens[OTHER, 'admin']}"}
        path = f"/api/dlq/plans/{self.draft}/submit"
        status, _ = await requested(self.apps["console"], "POST", path, headers, {})
        return status == 409

    async def belongings(self) -> dict[str, Any]:
        """Of the other tenant, as it sees them itself."""
        paths = ("/api/dlq/letters", "/api/dlq/groups", "/api/views", f"/api/dlq/plans/{self.plan}")
        found = {path: await self.other("GET", path) for path in paths}
        for answer in found.values():
            for moving in ("as_of_ms", "read_ms", "now_ms"):
                answer.pop(moving, None)
        found["log"] = self._log()
        return found

    def _log(self) -> dict[str, list[bytes | None]]:
        """Values of records of the other tenant, in every topic."""
        found: dict[str, list[bytes | None]] = {}
        for topic in wanted_topics(app.topology):
            for partition in range(topic.partitions):
                batch = self.broker.log(TopicPartition(topic.name, partition)).read_committed(
                    0, 1 << 30
                )
                found.setdefault(topic.name, []).extend(
                    value
                    for key, value in zip(batch.keys, batch.values, strict=True)
                    if key == OTHER.encode()
                )
        return found

    def headers(self, caller: str) -> dict[str, str]:
        if caller != PERSON:
            return {"authorization": f"Bearer {self.tokens[OWN, caller]}"}
        return {"cookie": f"dia_session={self.cookie}", "x-csrf-token": self.csrf}


async def requested(
    served: Starlette,
    method: str,
    path: str,
    headers: Mapping[str, str],
    body: dict[str, Any] | None = None,
) -> tuple[int, bytes]:
    """Status and body; of a stream its first part, as a client that hangs up then."""
    path, _, query = path.partition("?")
    content = b"" if body is None else json.dumps(body).encode()
    shown = {"host": "console", "content-type": "application/json", **headers}
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1",
        "method": method, "path": path, "raw_path": path.encode(), "query_string": query.encode(),
        "root_path": "", "scheme": "http", "server": ("console", 80), "client": ("192.0.2.1", 1),
        "headers": [(one.encode(), value.encode()) for one, value in shown.items()],
    }  # fmt: skip
    sent: list[Any] = [{"type": "http.request", "body": content, "more_body": False}]
    left, found, status = asyncio.Event(), bytearray(), 0

    async def receive() -> Any:
        if sent:
            return sent.pop()
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        elif message.get("body"):
            found.extend(message["body"])
            if message.get("more_body"):
                left.set()

    async with asyncio.timeout(30):
        await served(scope, receive, send)
    return status, bytes(found)


@asynccontextmanager
async def _world() -> AsyncIterator[World]:
    with tempfile.TemporaryDirectory() as home, pytest.MonkeyPatch.context() as patch:
        world = World(Path(home))

        async def ask(
            reader: Any, known: Any, shard: int, sql: str, parameters: Any, **named: Any
        ) -> Any:
            if sql != "SELECT 1":
                world.asked.append((sql, parameters))
            raise ShardUnavailable("away")

        async def known(reader: Any) -> Any:
            return assumed(world.settings)

        patch.setattr(ShardReader, "_ask", ask)
        patch.setattr(ShardReader, "known", known)
        await world.open()
        lanes = asyncio.create_task(world.edge.intake.run())
        try:
            yield world
        finally:
            lanes.cancel()
            await asyncio.gather(lanes, return_exceptions=True)
            world.edge.close()


def _routes(world: World) -> list[tuple[str, str, str]]:
    """Application, method and path of all that is served."""
    return [
        (name, method, route.path)
        for name, served in world.apps.items()
        for route in served.routes
        if isinstance(route, Route)
        for method in sorted((route.methods or set()) - {"HEAD"})
    ]


def _filled(world: World, path: str, choice: int) -> str:
    for name, value in (
        ("{plan}", (world.plan, world.draft)[choice % 2]), ("{topic}", TOPIC), ("{key:path}", "k"), ("{digest}", "d"),
        ("{name:path}", "console.css"),
    ):  # fmt: skip
        path = path.replace(name, value)
    return path


def _queries(world: World) -> list[dict[str, Any]]:
    """What names things of the other tenant, and what names nothing."""
    offsets = world.place.split("/")
    common = {"model": "m", "metric": "x", "topic": TOPIC, "id": world.letter, "place": world.place}
    return [
        {},
        {"tenant": OTHER},
        common,
        {**common, "tenant": OTHER},
        {**common, "tenant": OTHER, "windows": "m1", "column": "tenant", "name": "tenant"},
        {**common, "key": OTHER},
        {**common, "place": world.place, "partition": offsets[1], "contains": "model_id"},
        {**common, "by": "tenant", "where": "value >= 0", "id": "1"},
    ]


async def _try(world: World, route: tuple[str, str, str], caller: str, choice: int) -> None:
    """One request, and what must hold of it."""
    name, method, path = route
    query = _queries(world)[choice % len(_queries(world))]
    bodies = _bodies(world)[name].get(path, [{}]) if method == "POST" else [None]
    body = bodies[choice % len(bodies)]
    before = len(world.asked)
    address = f"{_filled(world, path, choice)}?{urlencode(query)}"
    headers = world.headers(caller)
    status, content = await requested(world.apps[name], method, address, headers, body)
    said = f"{method} {address} {body} as {caller}: {status}"
    assert SECRET.encode() not in content, said
    assert status != 500, said
    for sql, parameters in world.asked[before:]:
        assert _bound(sql, parameters), f"{said} asked {parameters} of {sql}"
    assert OTHER not in world.simulated, said


def _bound(sql: str, parameters: Mapping[str, Any]) -> bool:
    """The statement reads rows of the caller's tenant only, by a parameter that names it."""
    own = [name for name, value in parameters.items() if value in (OWN, [OWN])]
    return any(
        re.search(rf"tenant (=|IN) \{{{name}:|has\(\{{{name}:[^}}]*\}}, tenant\)", sql)
        for name in own
    )


CONSOLE_ONLY = frozenset({"/session/end"})
"""It ends the very session that goes on asking."""


async def test_every_route_is_known_here():
    """A route without an entry would be outside of the law below."""
    async with _world() as world:
        for name in world.apps:
            served = {(method, path) for one, method, path in _routes(world) if one == name}
            reads = {("GET", path) for path in KNOWN[name]}
            writes = {("POST", path) for path in _bodies(world)[name]}
            assert served == reads | writes


async def test_no_route_reaches_another_tenants():
    """Every route, as the callers that may do most, with each way of naming the other's things."""
    async with _world() as world:
        before = await world.belongings()
        for route in _routes(world):
            if route[2] in CONSOLE_ONLY:
                continue
            for caller in ("admin", PERSON) if route[0] == "console" else ("admin",):
                for choice in range(len(_queries(world))):
                    await _try(world, route, caller, choice)
        assert len({sql for sql, _ in world.asked}) > 8, "ClickHouse was asked, too"
        assert await world.belongings() == before
        assert await world.still_drafted()


async def test_the_other_tenant_itself_sees_what_is_looked_for():
    """Otherwise the law above would hold of answers in which nothing is ever shown."""
    async with _world() as world:
        headers = {"authorization": f"Bearer {world.tokens[OTHER, 'read']}"}
        for path in (
            f"/api/dlq/letters?topic={TOPIC}", f"/api/dlq/letter?id={world.letter}",
            f"/api/messages?topic={TOPIC}", f"/api/message?place={world.place}",
        ):  # fmt: skip
            _, content = await requested(world.apps["console"], "GET", path, headers)
            assert SECRET.encode() in content, (path, content)
        _, content = await requested(world.apps["edge"], "GET", "/v1/simulations/k", headers)
        assert SECRET.encode() in content
        assert SECRET in json.dumps(await world.belongings(), default=repr)


@settings(
    max_examples=cases(9),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(
        st.tuples(st.integers(0, 999), st.sampled_from(CALLERS), st.integers(0, 41)),
        min_size=10,
        max_size=60,
    )
)
def test_no_sequence_of_requests_reaches_another_tenants(asked):
    """Law: neither does what an earlier request left behind, such as a draft or a kept answer."""

    async def history() -> None:
        async with _world() as world:
            before = await world.belongings()
            routes = [one for one in _routes(world) if one[2] not in CONSOLE_ONLY]
            for number, caller, choice in asked:
                route = routes[number % len(routes)]
                if route[0] == "edge" and caller == PERSON:
                    caller = "operate"  # noqa: PLW2901 - an edge knows no sessions
                await _try(world, route, caller, choice)
            assert await world.belongings() == before
            assert await world.still_drafted()

    asyncio.run(history())
