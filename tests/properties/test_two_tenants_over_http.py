"""Two tenants use one edge and one console; one is hostile and random: the other's answers, events
and quotas are the same as alone."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import cramjam
import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.app import MODEL_METRICS, app
from streams.connect.access.quotas import Quota, Quotas
from streams.connect.access.refusals import Overloaded
from streams.connect.access.tokens import Role, TokenFile
from streams.connect.broker.memory.broker import MemoryBroker
from streams.core.clock import SystemClock, VirtualClock
from streams.core.settings import Settings
from streams.core.telemetry.metrics import Metrics
from streams.core.types import TopicPartition
from streams.http.console.pages.live import ChannelKey, Live
from streams.http.console.serving import ConsoleProcess
from streams.http.edge.serving import EdgeProcess
from streams.operate.topics.topics import wanted_topics
from tests.depth import cases
from tests.metric_requests import request_of
from tests.prometheus_requests import WriteRequest
from tests.unit.operate.dlq.mailbag import GOOD, fill, letter, six

VICTIM, HOSTILE = "acme", "globex"
METRICS = "/v1/events/model.metrics"
OTLP, PROTOBUF = "/v1/metrics", {"Content-Type": "application/x-protobuf"}
LINES = {"Content-Type": "application/x-ndjson"}
LIMITS = {
    Quota.REQUESTS: 60, Quota.EVENTS: 20_000, Quota.BYTES: 4 << 20, Quota.SIMULATIONS: 10_000,
    Quota.REFUSED_US: 1 << 40,  # the processor's speed must not decide here
}  # fmt: skip
ROOM = 64 << 10
"""Small, so that the hostile tenant can exhaust its share."""


class World:
    """An edge and a console over one in-memory broker."""

    def __init__(self, home: Path, stack: AsyncExitStack) -> None:
        self._stack = stack
        self.clock = SystemClock()
        self.tokens = {
            (tenant, role): TokenFile.of(home).create(
                tenant=tenant, role=role, now_ms=self.clock.now_ms()
            )[1]
            for tenant in (VICTIM, HOSTILE)
            for role in (Role.READ, Role.OPERATE)
        }
        self.broker = MemoryBroker(self.clock)
        self._settings = Settings(
            home=str(home),
            edge_inflight_bytes=ROOM,
            edge_spool_bytes=ROOM,
            edge_body_bytes=ROOM // 4,
        )
        self.held: list[Any] = []

    async def open(self) -> None:
        await (await self.broker.admin()).create_topics(wanted_topics(app.topology))
        await fill(self.broker, *six(), *_strange_letters())
        self.edge = EdgeProcess(self._settings, app.topology, self.broker, self.clock, Metrics())
        # No time passes for quotas: used units stay used, so they can be compared.
        self.quotas = Quotas(VirtualClock(), self.edge.metrics.edge, limits=LIMITS)
        self.edge._edge = replace(self.edge._edge, quotas=self.quotas)
        self._stack.callback(self.edge.close)
        lanes = asyncio.create_task(self.edge.intake.run())
        self._stack.push_async_callback(_ended, lanes)
        self.console = ConsoleProcess(self._settings, app, self.broker, self.clock, Metrics())
        self.live = Live(self.console.console)
        self._apps = self.edge.app(), self.console.app()
        self.victim = await self._clients("192.0.2.1")
        self.hostile = await self._clients("192.0.2.66")
        self._stack.push_async_callback(self._release)

    async def _clients(self, address: str) -> tuple[httpx.AsyncClient, httpx.AsyncClient]:
        """Clients of the edge and of the console."""
        made = []
        for served in self._apps:
            transport = httpx.ASGITransport(served, client=(address, 1))
            client = httpx.AsyncClient(transport=transport, base_url="http://dia")
            made.append(await self._stack.enter_async_context(client))
        return made[0], made[1]

    def bearer(self, tenant: str, role: Role = Role.OPERATE) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.tokens[tenant, role]}"}

    def events(self, tenant: str, names: list[str]) -> bytes:
        now_ms = self.clock.now_ms()
        given = {"tenant_id": tenant, "model_id": "m", "metric": "x", "ts": now_ms, "value": 1.0}
        return b"\n".join(json.dumps({**given, "event_id": name}).encode() for name in names)

    async def post(self, tenant: str, body: Any) -> httpx.Response:
        edge, _ = self.victim if tenant == VICTIM else self.hostile
        headers = {**LINES, **self.bearer(tenant)}
        return await edge.post(METRICS, content=body, headers=headers)

    def in_the_log(self, tenant: str) -> list[str]:
        """Ids of its events, as a consumer sees them."""
        found = []
        for partition in range(MODEL_METRICS.partitions):
            log = self.broker.log(TopicPartition("model.metrics", partition))
            batch = log.read_committed(0, 1 << 30)
            found += [
                json.loads(value)["event_id"]
                for key, value in zip(batch.keys, batch.values, strict=True)
                if key == tenant.encode()
            ]
        return found

    def hold(self, made: Awaitable[Any]) -> None:
        """A request or connection of the hostile tenant that stays open."""
        self.held.append(asyncio.ensure_future(made))

    async def _release(self) -> None:
        for task in self.held:
            task.cancel()
        await asyncio.gather(*self.held, return_exceptions=True)


def _strange_letters() -> Iterator[Any]:
    """Dead letters of the hostile tenant that would pass when replayed."""
    value = GOOD.replace(VICTIM.encode(), HOSTILE.encode())
    for offset in range(100, 110):
        yield letter(offset, value, "retries_exhausted", "why", key=HOSTILE.encode())


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def _world() -> AsyncIterator[World]:
    with tempfile.TemporaryDirectory() as home:
        async with AsyncExitStack() as stack:
            made = World(Path(home), stack)
            await made.open()
            yield made


Attack = tuple[str, int, bytes]
Step = Callable[[World, dict[str, Any]], Awaitable[Any]]


async def _posts(world: World, kept: dict[str, Any]) -> Any:
    kept["posted"] = posted = [*kept.get("posted", []), f"v{len(kept.get('posted', []))}"]
    answer = await world.post(VICTIM, world.events(VICTIM, posted[-1:]))
    return answer.status_code, answer.json()["accepted"], answer.json()["rejected"]


async def _signs_in(world: World, kept: dict[str, Any]) -> Any:
    _, console = world.victim
    token = world.tokens[VICTIM, Role.READ]
    return (await console.post("/session", json={"token": token})).status_code


async def _shows_itself(world: World, kept: dict[str, Any]) -> Any:
    _, console = world.victim
    answer = await console.get("/session")
    return answer.status_code, answer.json().get("tenant")


async def _drafts(world: World, kept: dict[str, Any]) -> Any:
    _, console = world.victim
    answer = await console.post("/api/dlq/plans", json={}, headers=world.bearer(VICTIM))
    kept["plan"] = answer.json().get("plan")
    return answer.status_code, answer.json().get("letters"), answer.json().get("scanned")


async def _lists(world: World, kept: dict[str, Any]) -> Any:
    _, console = world.victim
    headers = world.bearer(VICTIM, Role.READ)
    answers = [
        await console.get(f"/api/dlq/{what}", headers=headers) for what in ("letters", "groups")
    ]
    kept_parts = ("letters", "next", "groups", "complete")
    return [
        (answer.status_code, {name: answer.json().get(name) for name in kept_parts})
        for answer in answers
    ]


async def _watches(world: World, kept: dict[str, Any]) -> Any:
    return await _watching(world, VICTIM, "overview")


async def _submits(world: World, kept: dict[str, Any]) -> Any:
    _, console = world.victim
    path = f"/api/dlq/plans/{kept['plan']}/submit"
    answer = await console.post(path, headers=world.bearer(VICTIM))
    return answer.status_code, answer.json().get("letters")


async def _watching(world: World, tenant: str, what: str) -> bytes:
    async def read() -> bytes:
        return b"{}"

    shown = world.live._stream(ChannelKey(f"tenant {tenant}", (what,)), read, 1000.0)
    stream = aiter(shown.body_iterator)
    first = await anext(stream)
    if tenant == VICTIM:
        await stream.aclose()
    else:
        world.held.append(asyncio.ensure_future(_stays(stream)))
        await asyncio.sleep(0)
    return bytes(first)


async def _stays(stream: Any) -> None:
    async for _ in stream:
        pass


STEPS: tuple[Step, ...] = (
    _signs_in, _posts, _drafts, _shows_itself, _posts, _lists, _watches, _posts, _shows_itself,
    _posts, _lists, _watches, _posts, _submits, _shows_itself, _posts,
)  # fmt: skip


async def _events(world: World, much: int, noise: bytes) -> None:
    await world.post(HOSTILE, world.events(HOSTILE, [f"h{i}" for i in range(much * 3)]))


async def _garbage(world: World, much: int, noise: bytes) -> None:
    await world.post(HOSTILE, noise * much)


async def _foreign(world: World, much: int, noise: bytes) -> None:
    await world.post(HOSTILE, world.events(VICTIM, [f"v{i}" for i in range(much)]))


async def _foreign_points(world: World, much: int, noise: bytes) -> None:
    """Resources and series that name the victim, under ids and names of its events, and garbage."""
    edge, who = world.hostile[0], world.bearer(HOSTILE)
    for tenant in (VICTIM, None):
        content = request_of(*range(much), tenant=tenant, **{"service.name": "m"})
        await edge.post(OTLP, content=content.SerializeToString(), headers={**PROTOBUF, **who})
    series = WriteRequest().timeseries.add()
    for name, value in (("__name__", "x"), ("job", "m"), ("dia_tenant", VICTIM)):
        series.labels.add(name=name, value=value)
    series.samples.add(value=1, timestamp=world.clock.now_ms())
    packed = cramjam.snappy.compress_raw(WriteRequest(timeseries=[series]).SerializeToString())
    snappy = {**PROTOBUF, "Content-Encoding": "snappy", **who}
    for body in (bytes(packed), noise * much):
        await edge.post("/api/v1/write", content=body, headers=snappy)
        await edge.post(OTLP, content=body, headers={**PROTOBUF, "Content-Encoding": "gzip", **who})


async def _slow(world: World, much: int, noise: bytes) -> None:
    """Large uploads fill most of the room, small ones the rest."""
    for number in range(much):
        size = (4000, 1000, 100, 20)[number % 4]
        world.hold(world.post(HOSTILE, _part(b" " * size)))
    for _ in range(20):
        await asyncio.sleep(0)


async def _burst(world: World, much: int, noise: bytes) -> None:
    await asyncio.gather(*(world.post(HOSTILE, b"1\n" * 100) for _ in range(2 * much)))


async def _wrong_token(world: World, much: int, noise: bytes) -> None:
    wrong = {"Authorization": "Bearer dia_00000000_" + "x" * 43}
    for _ in range(3 * much):
        await world.hostile[0].get("/v1/simulations/k", headers=wrong)


async def _sign_in(world: World, much: int, noise: bytes) -> None:
    for _ in range(much):
        await world.hostile[1].post("/session", json={"token": world.tokens[HOSTILE, Role.READ]})


async def _guess(world: World, much: int, noise: bytes) -> None:
    guess = world.tokens[VICTIM, Role.READ][: len("dia_01234567_")] + "x" * 43
    for _ in range(much):
        await world.hostile[1].post("/session", json={"token": guess})


async def _watch(world: World, much: int, noise: bytes) -> None:
    with suppress(Overloaded):
        for number in range(much):
            await _watching(world, HOSTILE, f"plan {number}")


async def _draft(world: World, much: int, noise: bytes) -> None:
    for _ in range(much // 3 + 1):
        await world.hostile[1].post("/api/dlq/plans", json={}, headers=world.bearer(HOSTILE))


async def _letters(world: World, much: int, noise: bytes) -> None:
    reader = world.bearer(HOSTILE, Role.READ)
    for number in range(much):
        path = f"/api/dlq/letters?limit={number + 1}"
        world.hold(world.hostile[1].get(path, headers=reader))
    await asyncio.sleep(0)


async def _odd_request(world: World, much: int, noise: bytes) -> None:
    path = f"http://dia/{quote(noise)}"
    odd = {"X-Forwarded-For": "192.0.2.1", "Origin": "http://[", "Cookie": "dia_session=x"}
    for client in world.hostile:
        await client.post(path, headers=odd)


ATTACKS = {
    made.__name__.strip("_"): made
    for made in (
        _events, _garbage, _foreign, _foreign_points, _slow, _burst, _wrong_token, _sign_in, _guess, _watch, _draft,
        _letters, _odd_request,
    )
}  # fmt: skip
attacks = st.lists(
    st.tuples(st.sampled_from([*ATTACKS]), st.integers(1, 40), st.binary(max_size=60)), max_size=25
)


async def _part(first: bytes) -> AsyncIterator[bytes]:
    yield first
    await asyncio.Event().wait()


async def _history(attacked: list[Attack]) -> tuple[list[Any], list[str], int]:
    """The victim's answers, its events in the log, and its remaining quota. A step of the victim
    follows each attack; its other steps follow at the end."""
    async with _world() as world:
        answers: list[Any] = []
        kept: dict[str, Any] = {}
        left = [*STEPS]
        for index, attack in enumerate(attacked):
            name, much, noise = attack
            await ATTACKS[name](world, much, noise)
            if index % 2 and len(left) > 1:
                answers.append(await left.pop(0)(world, kept))
        answers += [await step(world, kept) for step in left]
        async with asyncio.timeout(200):
            while len(world.in_the_log(VICTIM)) < len(kept["posted"]):  # noqa: ASYNC110 - a log
                await asyncio.sleep(0.005)
        return answers, world.in_the_log(VICTIM), _requests_left(world)


def _requests_left(world: World) -> int:
    count = 0
    while not world.quotas._own[Quota.REQUESTS].wait_s(f"tenant {VICTIM}"):
        world.quotas._own[Quota.REQUESTS].charge(f"tenant {VICTIM}")
        count += 1
    return count


@pytest.fixture(scope="module")
def alone() -> tuple[list[Any], list[str], int]:
    """The victim's history without the hostile tenant."""
    return asyncio.run(_history([]))


def test_the_victims_requests_succeed_alone(alone):
    """Otherwise the comparison would compare refusals."""
    answers, events, left = alone
    statuses = [one[0] if isinstance(one, tuple) else one for one in answers]
    assert {one for one in statuses if isinstance(one, int)} == {200, 201, 202, 204}
    assert events == [f"v{number}" for number in range(STEPS.count(_posts))]
    assert left == LIMITS[Quota.REQUESTS] - STEPS.count(_posts)


@given(attacks)
@settings(max_examples=cases(25), suppress_health_check=list(HealthCheck))
def test_a_hostile_tenant_changes_nothing_for_another(alone, attacked):
    """Every answer, every event and every quota is the same as without it."""
    assert asyncio.run(_history(attacked)) == alone


@pytest.mark.parametrize("what", ATTACKS)
def test_each_attack_at_full_strength_changes_nothing(alone, what):
    """Random attacks mix; here each runs alone, with all its requests, at every step."""
    assert asyncio.run(_history([(what, 40, b'\xff\x00{["')] * len(STEPS))) == alone
