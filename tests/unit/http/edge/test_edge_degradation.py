"""An edge needs Kafka or its disk: without either it gives every client the same answer at once."""

from __future__ import annotations

import asyncio
import json
import shutil

import pytest

from streams.core.clock import VirtualClock
from streams.core.degradation.degradation import DISK, KAFKA, Degradation
from streams.core.degradation.level import FINE, Level, Reading
from streams.core.telemetry.metrics import Metrics
from streams.http.edge.health_checks import edge_watch


class _Lane:
    def __init__(self, topic, direct):
        self.topic = topic
        self.direct = direct


class _Intake:
    def __init__(self):
        self.lanes = {name: _Lane(name, True) for name in ("a", "b")}

    def go(self, **direct):
        for name, lane in self.lanes.items():
            lane.direct = direct[name]


@pytest.fixture
def watched(tmp_path, monkeypatch):
    """A watch that the test steps, its lanes, its level, its clock, and a way to fill the disk."""
    clock, intake = VirtualClock(), _Intake()
    degradation = Degradation(clock, Metrics())
    usage = shutil.disk_usage(tmp_path)
    room = [10_000]
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=room[0]))
    watch = edge_watch(degradation, clock, intake, tmp_path, 1000)
    return watch, intake, degradation, clock, room


async def test_a_spool_in_use_gives_level_one_after_some_seconds(watched):
    """The spool serves short outages; a longer use of it is reported."""
    watch, intake, degradation, clock, _ = watched
    intake.go(a=True, b=False)
    watch.look()
    assert degradation.level == Level.HEALTHY
    await clock.advance(6)
    watch.look()
    assert degradation.level_of(KAFKA) == Level.DEGRADED


async def test_a_full_disk_matters_only_where_it_is_needed(watched):
    """While Kafka accepts events an edge needs no disk; without both it can store nothing."""
    watch, intake, degradation, _, room = watched
    room[0] = 10
    watch.look()
    assert degradation.level_of(DISK) == Level.DEGRADED
    intake.go(a=False, b=True)
    watch.look()
    assert degradation.level_of(DISK) == Level.DEGRADED
    intake.go(a=False, b=False)
    watch.look()
    assert degradation.level == Level.MINIMAL


async def test_level_three_gives_every_client_the_same_answer(process, http, event, log):
    """The edge neither looks up a token nor reads a body; the client waits and repeats the request."""
    process.degradation.observe(DISK, Reading(Level.MINIMAL, "full"))
    for headers in ({}, {"Authorization": "Bearer nonsense"}):
        answer = await http.post("/v1/events/model.metrics", json=event(), headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (503, "nothing_kept")
        assert int(answer.headers["retry-after"]) > 10
    assert log() == []
    health = (await http.get("/healthz")).json()
    assert (health["ok"], health["degradation"]["level"]) == (False, 3)
    for _ in range(10):
        process.degradation.observe(DISK, FINE)
    answer = await http.post("/v1/events/model.metrics", json=event())
    assert answer.status_code == 202
    async with asyncio.timeout(200):
        while not log():  # noqa: ASYNC110 - a log has no notification
            await asyncio.sleep(0.01)
    assert [json.loads(value)["metric"] for _, value in log()] == ["x"]
