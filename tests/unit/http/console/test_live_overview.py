"""The status of the service is more recent than the cached figures."""

from __future__ import annotations

import pytest

from agents.app import app
from streams.core.clock import SystemClock
from streams.core.degradation.level import Cause, Standing
from streams.core.telemetry.metrics import Metrics
from streams.engine.health.live_workers import LiveWorker
from streams.http.console.pipeline import workers
from streams.http.console.serving import ConsoleProcess

AWAY = Standing(
    level=2,
    since_ms=1,
    causes=(Cause(signal="clickhouse-0", level=2, why="it is away", since_ms=1),),
)


class ManualClock(SystemClock):
    """A clock that the test moves."""

    moved_s = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.moved_s


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def process(console_settings, tokens, broker, clock) -> ConsoleProcess:
    return ConsoleProcess(console_settings, app, broker, clock, Metrics())


async def test_a_level_that_rose_shows_within_seconds(http, bearer, clock, monkeypatch):
    """The cached part of the answer keeps its age; the level in it is current."""
    standing = Standing()
    monkeypatch.setattr(
        workers, "live_workers", lambda state: [LiveWorker(pid=1, slot=0, degradation=standing)]
    )
    before = (await http.get("/overview", headers=bearer("admin"))).json()
    standing = AWAY
    clock.moved_s = 3.0
    after = (await http.get("/overview", headers=bearer("admin"))).json()
    assert (before["level"]["level"], after["level"]["level"]) == (0, 2)
    assert after["level"]["reasons"] == ["clickhouse-0: it is away"]
    assert after["degraded"]
    assert after["as_of_ms"] == before["as_of_ms"]


async def test_growing_lag_shows_while_figures_are_cached(http, bearer, broker, clock):
    """The lag comes from the broker and is at most some seconds old."""
    before = (await http.get("/overview", headers=bearer("admin"))).json()
    producer = broker.plain_producer()
    await producer.start()
    await (await producer.send("model.metrics", b"k", b"v"))
    await producer.close()
    clock.moved_s = 7.0
    after = (await http.get("/overview", headers=bearer("admin"))).json()
    assert (before["lag"]["records"], after["lag"]["records"]) == (0, 1)
    assert (before["health"]["verdict"], after["health"]["verdict"]) == ("warning", "red")
    assert after["as_of_ms"] == before["as_of_ms"]
