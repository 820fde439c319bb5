"""A console on in-memory parts, requested in process; a list of answers stands in for ClickHouse."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from agents.app import app
from streams.connect.access.tokens import Role, TokenFile
from streams.connect.broker.memory.broker import MemoryBroker
from streams.core.clock import SystemClock
from streams.core.settings import Settings
from streams.core.telemetry.metrics import Metrics
from streams.http.console.serving import ConsoleProcess
from streams.operate.topics.topics import wanted_topics

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
def console_settings(tmp_path) -> Settings:
    return Settings(home=str(tmp_path))


@pytest.fixture
async def broker() -> MemoryBroker:
    made = MemoryBroker(SystemClock())
    await (await made.admin()).create_topics(wanted_topics(app.topology))
    return made


@pytest.fixture
def process(console_settings, tokens, broker) -> ConsoleProcess:
    return ConsoleProcess(console_settings, app, broker, SystemClock(), Metrics())


@pytest.fixture
async def http(process, tokens) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a token that keeps cookies like a browser."""
    transport = httpx.ASGITransport(process.app(), raise_app_exceptions=True)
    async with httpx.AsyncClient(transport=transport, base_url="http://console") as client:
        yield client


@pytest.fixture
def bearer(tokens):
    """Request headers with the named token."""
    return lambda name: {"Authorization": f"Bearer {tokens[name]}"}
