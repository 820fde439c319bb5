"""A memory broker with the DLQ for the tests of `dia dlq`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agents.app import app
from streams.cli import clients
from streams.connect.broker.memory.broker import MemoryBroker
from streams.core.clock import SystemClock
from streams.core.types import TopicConfig
from streams.engine.runtime.effects import dead_letters
from streams.operate.topics.topics import wanted_topics
from tests.unit.operate.dlq.mailbag import NOW_S, fill, six


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> MemoryBroker:
    """All topics, empty, and a foreign DLQ; commands use this broker."""
    made = MemoryBroker(SystemClock())

    async def create() -> None:
        admin = await made.admin()
        await admin.create_topics(
            [*wanted_topics(app.topology), TopicConfig("orders-dlt", 1, 1, {})]
        )

    asyncio.run(create())
    monkeypatch.setenv("DIA_HOME", str(tmp_path))
    monkeypatch.setattr(clients, "broker_of", lambda settings: made)
    monkeypatch.setattr("time.time", lambda: NOW_S)
    monkeypatch.setattr(dead_letters, "app_version", lambda: "1.2.3")
    return made


@pytest.fixture
def filled(broker: MemoryBroker) -> MemoryBroker:
    asyncio.run(fill(broker, *six()))
    return broker
