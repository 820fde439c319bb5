"""Health as metrics of a process that lives on."""

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
    """The metrics of a monitor that runs."""
    metrics = Metrics()

    async def none_here():
        return []

    monitor = HealthMonitor(
        broker, [DeclaredSource(GROUP, TOPIC)], none_here, clock, metrics.health, tmp_path
    )
    task = asyncio.create_task(monitor.run())
    await settle(200)
    yield metrics.registry.get_sample_value, task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await monitor.close()


PLACE = {"group": GROUP, "topic": TOPIC, "partition": "0"}
DEAD = {"code": "group_dead", "severity": "red", "subject": TOPIC}


async def test_lag_without_a_worker_is_a_metric(running, broker, clock):
    """No worker is there to report it, and an alert needs a number."""
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
    """The last number would be a lie that looks like a flat line."""
    value, _ = running

    async def away(self):
        raise BrokerUnavailable("no answer")

    monkeypatch.setattr(MemoryBroker, "admin", away)
    await clock.advance(INTERVAL_S)
    await settle(200)
    assert value("dia_group_lag_records", PLACE) is None
    assert value("dia_health_verdict", {"verdict": "unknown"}) == 1


async def test_a_defect_of_the_rule_hides_nothing(running, broker, clock, monkeypatch):
    """Metrics of before would go on saying that all is well; and the monitor looks again."""
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


async def test_what_no_longer_looks_shows_nothing(running):
    """A leader that stepped down must not keep a red finding, or a green one, for ever."""
    value, task = running
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert value("dia_health_verdict", {"verdict": "warning"}) is None
    assert value("dia_group_lag_records", PLACE) is None
