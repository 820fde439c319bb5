"""Actions that a degradation level forbids, and those that it allows."""

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
    """Levels with one worker that reports the given signals."""

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
def test_an_outage_of_redis_allows_cancelling_and_replaying(levels, signals, read_only):
    """Both are records in Kafka, and an outage of the cache is when they may be needed most."""
    assert levels(**signals).read_only is read_only


def test_without_workers_the_level_is_unknown_and_forbids_no_action(tmp_path):
    """Without a worker there is no reading: the state is neither healthy nor a reason to refuse."""
    found = Levels(Workers(tmp_path, "127.0.0.1", SystemClock()), SystemClock())
    assert found.now() is None
    assert not found.read_only
    assert not found.away(0)
