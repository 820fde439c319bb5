"""What a level of degradation keeps people from doing, and what it does not."""

from __future__ import annotations

import pytest

from streams.core.clock import SystemClock
from streams.core.degradation.level import Cause, Standing
from streams.engine.health.live_workers import LiveWorker
from streams.http.console.pipeline import workers
from streams.http.console.pipeline.level import Levels
from streams.http.console.pipeline.workers import Workers


@pytest.fixture
def levels(tmp_path, monkeypatch):
    """Levels with one worker at the given signals."""

    def made(**signals: int) -> Levels:
        causes = tuple(
            Cause(signal=name.replace("_", "-"), level=level, why="away", since_ms=1)
            for name, level in signals.items()
        )
        standing = Standing(level=max(signals.values(), default=0), since_ms=1, causes=causes)
        monkeypatch.setattr(
            workers, "live_workers", lambda state: [LiveWorker(pid=1, slot=0, degradation=standing)]
        )
        return Levels(Workers(tmp_path, "127.0.0.1", SystemClock()), SystemClock())

    return made


@pytest.mark.parametrize(
    ("signals", "read_only"),
    [
        ({}, False),
        ({"redis": 2}, False),
        ({"clickhouse_0": 1}, False),
        ({"clickhouse_0": 2}, True),
        ({"kafka": 3, "redis": 2}, True),
    ],
)
def test_redis_keeps_nobody_from_cancelling_or_replaying(levels, signals, read_only):
    """Those are records in Kafka; an outage of a cache is when they may be needed most."""
    assert levels(**signals).read_only is read_only


def test_without_workers_nothing_is_known_and_nothing_forbidden(tmp_path):
    """No worker is no reading: neither healthy, nor a reason to refuse an order."""
    found = Levels(Workers(tmp_path, "127.0.0.1", SystemClock()), SystemClock())
    assert found.now() is None
    assert not found.read_only
    assert not found.away(0)
