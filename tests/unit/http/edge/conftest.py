"""An edge on a memory broker, requested in process or over a local port."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx
import pytest
from starlette.applications import Starlette

from agents.app import app
from streams.connect.access.tokens import Role, TokenFile
from streams.connect.broker.memory.broker import MemoryBroker
from streams.core.clock import SystemClock
from streams.core.settings import Settings
from streams.core.telemetry.metrics import Metrics
from streams.core.types import TopicPartition
from streams.http.edge.serving import EdgeProcess
from streams.operate.topics.topics import wanted_topics
from tests.listening import listening

TENANT = "acme"


@pytest.fixture
def tokens(tmp_path) -> dict[str, str]:
    """One token of each role, bound to one tenant except the admin's; and one of another tenant."""
    file, now_ms = TokenFile.of(tmp_path), SystemClock().now_ms()
    found = {
        role.name.lower(): file.create(
            tenant=None if role is Role.ADMIN else TENANT, role=role, now_ms=now_ms
        )[1]
        for role in Role
    }
    found["stranger"] = file.create(tenant="globex", role=Role.OPERATE, now_ms=now_ms)[1]
    return found


@pytest.fixture
def edge_settings(tmp_path) -> Settings:
    return Settings(home=str(tmp_path), edge_body_bytes=1 << 21)


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker(SystemClock())


async def make_topics(broker: MemoryBroker) -> None:
    await (await broker.admin()).create_topics(wanted_topics(app.topology))


def in_the_log(broker: MemoryBroker, topic: str = "model.metrics") -> list[tuple[bytes, bytes]]:
    """(key, value) of all records that a consumer sees."""
    found = []
    for partition in range(app.topics[topic].partitions):
        batch = broker.log(TopicPartition(topic, partition)).read_committed(0, 99_999)
        found += list(zip(batch.keys, batch.values, strict=True))
    return found


@pytest.fixture
async def process(edge_settings, tokens, broker) -> AsyncIterator[EdgeProcess]:
    """A process with running lanes and existing topics."""
    await make_topics(broker)
    made = EdgeProcess(edge_settings, app.topology, broker, SystemClock(), Metrics())
    lanes = asyncio.create_task(made.intake.run())
    yield made
    lanes.cancel()
    await asyncio.gather(lanes, return_exceptions=True)
    made.close()


@pytest.fixture
async def http(process, tokens) -> AsyncIterator[httpx.AsyncClient]:
    """A client that calls the application without a port, with a token that may post."""
    transport = httpx.ASGITransport(process.app(), raise_app_exceptions=True)
    headers = {"Authorization": f"Bearer {tokens['operate']}"}
    async with httpx.AsyncClient(
        transport=transport, base_url="http://edge", headers=headers
    ) as client:
        yield client


class NoResults:
    """A ClickHouse in which no simulation has ended."""

    async def results(self, tenant, key):
        return []


@pytest.fixture
def served(edge_settings, tokens, broker) -> Iterator[str]:
    """The address of an edge that listens, on its own event loop."""

    @asynccontextmanager
    async def edge() -> AsyncIterator[Starlette]:
        await make_topics(broker)
        unlimited = replace(edge_settings, edge_requests=1_000_000)
        made = EdgeProcess(unlimited, app.topology, broker, SystemClock(), Metrics())
        made._edge = replace(made._edge, results=NoResults())
        try:
            yield made.app()
        finally:
            made.close()

    with listening(edge) as url:
        yield url


def _event(**changes: object) -> dict[str, object]:
    now_ms = SystemClock().now_ms()
    good = {"tenant_id": TENANT, "model_id": "m", "metric": "x", "ts": now_ms, "value": 1.5}
    return {**good, **changes}


@pytest.fixture
def event():
    """Makes a valid event with changes."""
    return _event


@pytest.fixture
def line():
    """The event as bytes."""
    return lambda **changes: json.dumps(_event(**changes)).encode()


@pytest.fixture
def log(broker):
    """The records of a topic that consumers see."""
    return lambda topic="model.metrics": in_the_log(broker, topic)
