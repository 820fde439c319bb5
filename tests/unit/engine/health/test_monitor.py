"""Health metrics of a long-running process."""

from __future__ import annotations

import asyncio

import pytest

from streams.connect.broker.memory.broker import MemoryBroker
from streams.core.clock import VirtualClock, settle
from streams.core.errors import BrokerUnavailable
from streams.core.telemetry.metrics import Metrics
from streams.core.topics.topology import DeclaredSource
from streams.core.types import TopicConfig
from streams.engine.health.monitor import INTERVAL_S, HealthMonitor
from streams.engine.health.rule import STALL_S

TOPIC, GROUP = "model.metrics", "dia-group"


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
async def broker(clock) -> MemoryBroker:
    made = MemoryBroker(clock)
    await (await made.admin()).create_topics([TopicConfig(TOPIC, 1, 1, {})])
    return made


@pytest.fixture
async def running(broker, clock, tmp_path):
    """The metrics of a running monitor."""
    metrics = Metrics()

    async def no_findings():
        return []

    monitor = HealthMonitor(
        broker, [DeclaredSource(GROUP, TOPIC)], no_findings, clock, metrics.health, tmp_path
    )
    task = asyncio.create_task(monitor.run())
    await settle(200)
    yield metrics.registry.get_sample_value, task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await monitor.close()


class _Reading:
    """A member that reads and never commits."""

    def __init__(self, consumer) -> None:
        self._consumer = consumer

    async def on_revoked(self, partitions) -> None:
        """Keeps no state."""

    async def on_assigned(self, partitions) -> None:
        for tp in partitions:
            self._consumer.seek(tp, 0)


@pytest.mark.parametrize("jump_ms", [3_600_000, -3_600_000])
async def test_a_corrected_wall_clock_neither_hides_nor_makes_a_stall(
    running, broker, clock, jump_ms
):
    """A clock that was an hour ahead when the stall began would keep it silent for the hour."""
    value, _ = running
    producer = broker.plain_producer()
    await producer.start()
    await (await producer.send(TOPIC, b"k", b"v"))
    await producer.close()
    consumer = broker.consumer(GROUP, [TOPIC], "one")
    await consumer.start(_Reading(consumer))
    await clock.advance(INTERVAL_S)
    clock.jump_wall(jump_ms)
    stalled = {"code": "partition_stalled", "severity": "red", "subject": TOPIC}
    for elapsed_s, found in ((STALL_S - 2 * INTERVAL_S, None), (2 * INTERVAL_S, 1)):
        await clock.advance(elapsed_s)
        await settle(200)
        assert value("dia_health_findings", stalled) == found
    await consumer.stop()


PLACE = {"group": GROUP, "topic": TOPIC, "partition": "0"}
DEAD = {"code": "group_dead", "severity": "red", "subject": TOPIC}


async def test_lag_without_a_worker_is_a_metric(running, broker, clock):
    """No worker reports the lag, and alerts need it."""
    value, _ = running
    assert value("dia_group_lag_records", PLACE) == 0
    assert value("dia_health_findings", DEAD) is None
    producer = broker.plain_producer()
    await producer.start()
    await (await producer.send(TOPIC, b"k", b"v"))
    await producer.close()
    await clock.advance(INTERVAL_S)
    await settle(200)
    assert value("dia_group_lag_records", PLACE) == 1
    assert value("dia_health_findings", DEAD) == 1
    assert value("dia_health_verdict", {"verdict": "red"}) == 1
    assert value("dia_health_verdict", {"verdict": "healthy"}) == 0


async def test_a_lag_that_became_unknown_has_no_sample(running, broker, clock, monkeypatch):
    """A stale value would look like a constant lag."""
    value, _ = running

    async def away(self):
        raise BrokerUnavailable("no answer")

    monkeypatch.setattr(MemoryBroker, "admin", away)
    await clock.advance(INTERVAL_S)
    await settle(200)
    assert value("dia_group_lag_records", PLACE) is None
    assert value("dia_health_verdict", {"verdict": "unknown"}) == 1


async def test_an_error_in_a_health_rule_removes_old_metrics(running, broker, clock, monkeypatch):
    """Old metrics must not persist as healthy, and the monitor must run again."""
    value, task = running

    async def broken(self):
        raise RuntimeError("a defect")

    with monkeypatch.context() as patch:
        patch.setattr(MemoryBroker, "admin", broken)
        await clock.advance(INTERVAL_S)
        await settle(200)
        assert value("dia_health_verdict", {"verdict": "warning"}) is None
    await clock.advance(INTERVAL_S)
    await settle(200)
    assert not task.done()
    assert value("dia_health_verdict", {"verdict": "warning"}) == 1


async def test_a_stopped_monitor_has_no_samples(running):
    """A leader that stepped down must not keep reporting old findings."""
    value, task = running
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert value("dia_health_verdict", {"verdict": "warning"}) is None
    assert value("dia_group_lag_records", PLACE) is None
