"""Events over HTTP to a real broker with outages, through an edge that is killed."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator

import pytest

from agents.app import MODEL_METRICS, app
from streams.connect.broker.kafka.broker import KafkaBroker
from streams.connect.broker.log_range import decided_end, read_range
from streams.core.clock import SystemClock
from streams.core.types import TopicPartition
from streams.http.edge.client import EdgeClient
from tests.empty_topics import empty_topics
from tests.faults.edge_process import EdgeUnderTest
from tests.faults.services import absent

EVENTS = 300


@pytest.fixture
def edge(stack, monkeypatch, tmp_path) -> Iterator[EdgeUnderTest]:
    """An edge before the session's broker, which has the topics."""
    if not stack.services:
        pytest.skip("the test must not kill the broker named in DIA_*")
    monkeypatch.setenv("DIA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DIA_KAFKA_BOOTSTRAP", stack.kafka_bootstrap)
    asyncio.run(empty_topics(KafkaBroker(stack.kafka_bootstrap)))
    running = EdgeUnderTest(tmp_path / "home", dict(os.environ))
    running.start()
    yield running
    running.kill()


def _events(start: int) -> list[dict[str, object]]:
    now_ms = SystemClock().now_ms()
    return [
        {"tenant_id": f"edge-{n % 7}", "model_id": "m", "metric": "x", "ts": now_ms, "value": n}
        for n in range(start, start + EVENTS)
    ]


async def _log(bootstrap: str) -> list[list[tuple[bytes | None, int]]]:
    """(key, number) of this test's events as a consumer sees them, one list per partition."""
    reader, found = await KafkaBroker(bootstrap).reader(), []
    for partition in range(MODEL_METRICS.partitions):
        tp, seen = TopicPartition(MODEL_METRICS.name, partition), []
        begin, end = await reader.beginning_offset(tp), await decided_end(reader, tp, SystemClock())
        async for batch in read_range(reader, tp, begin, end, 50_000):
            seen += [
                (key, round(json.loads(value)["value"]))
                for key, value in zip(batch.keys, batch.values, strict=True)
                if (key or b"").startswith(b"edge-")
            ]
        found.append(seen)
    await reader.close()
    return found


@pytest.mark.long
async def test_posted_events_reach_the_log_once_and_in_order(stack, edge):
    """The broker dies and stays unavailable, and the edge is killed with its spool full: every
    accepted event is in the log once, each tenant's in the order of its requests."""
    posted = 0

    async def post() -> None:
        nonlocal posted
        async with EdgeClient(edge.url, edge.token, app.topology) as client:
            receipt = await client.post(MODEL_METRICS.name, _events(posted))
        assert receipt == (EVENTS, [])
        posted += EVENTS

    await edge.direct()
    await post()
    away = absent(stack.home, "kafka")
    await asyncio.to_thread(away.__enter__)
    try:
        await post()
        await post()
        edge.kill()
        edge.start()
        await post()
    finally:
        await asyncio.to_thread(away.__exit__, None, None, None)
    await edge.direct()
    await post()
    assert edge.stop() == 0
    numbers: dict[bytes | None, list[int]] = {}
    for partition in await _log(stack.kafka_bootstrap):
        for key, number in partition:
            numbers.setdefault(key, []).append(number)
    assert sorted(n for seen in numbers.values() for n in seen) == [*range(posted)]
    assert all(seen == sorted(seen) for seen in numbers.values())
