"""The degradation level of a process, its effects, and its publication."""

from __future__ import annotations

import asyncio
import errno
import shutil

import pytest
from structlog.testing import capture_logs

from streams.core.clock import VirtualClock, settle
from streams.core.degradation.degradation import DISK, KAFKA, REDIS, Degradation, shard_signal
from streams.core.degradation.level import FINE, HEALTHY, Level, Reading, Standing, worst
from streams.core.degradation.room import room_reading
from streams.core.degradation.silence import Silence
from streams.core.degradation.watch import HealthWatch
from streams.core.errors import BrokerUnavailable
from streams.core.telemetry.metrics import Metrics


@pytest.fixture
def clock():
    return VirtualClock()


@pytest.fixture
def metrics():
    return Metrics()


@pytest.fixture
def degradation(clock, metrics):
    return Degradation(clock, metrics)


def _sample(metrics, name, **labels):
    return metrics.registry.get_sample_value(f"dia_{name}", labels)


async def test_the_worst_signal_is_the_level_and_all_are_named(degradation, clock, metrics):
    """An operator needs the cause, its begin and the other signals."""
    degradation.observe(shard_signal(1), Reading(Level.DEGRADED, "slow"))
    began_ms = clock.now_ms()
    await clock.advance(5)
    degradation.observe(KAFKA, Reading(Level.MINIMAL, "silent"))
    standing = degradation.standing
    assert (standing.level, standing.since_ms) == (3, clock.now_ms())
    assert [(c.signal, c.level, c.why, c.since_ms) for c in standing.causes] == [
        ("kafka", 3, "silent", clock.now_ms()),
        ("clickhouse-1", 1, "slow", began_ms),
    ]
    assert _sample(metrics, "degradation_level") == 3
    assert _sample(metrics, "degradation_signal_level", signal="clickhouse-1") == 1


def test_each_action_depends_on_its_own_signals(degradation):
    """An absent shard delays its own rows, Redis delays none, and Kafka pauses no partition, since
    a fetch has to notice its return.
    """
    degradation.observe(REDIS, Reading(Level.PARTIAL, "away"))
    degradation.observe(KAFKA, Reading(Level.MINIMAL, "silent"))
    assert degradation.without_early_rows(2) == frozenset()
    assert not degradation.intake_held
    degradation.observe(shard_signal(1), Reading(Level.DEGRADED, "slow"))
    assert degradation.without_early_rows(2) == {1}
    degradation.observe(DISK, Reading(Level.DEGRADED, "short"))
    assert not degradation.intake_held
    degradation.observe(DISK, Reading(Level.MINIMAL, "full"))
    assert degradation.intake_held


def test_the_level_falls_slowly_and_drops_its_cause(degradation, metrics):
    """Ten healthy readings per level: a disk that fills and empties must not pause and resume
    partitions each time.
    """
    degradation.observe(DISK, Reading(Level.MINIMAL, "full"))
    for _ in range(9):
        degradation.observe(DISK, FINE)
    assert degradation.intake_held
    degradation.observe(DISK, FINE)
    assert not degradation.intake_held
    assert degradation.standing.causes[0].why == "full"
    for _ in range(20):
        degradation.observe(DISK, FINE)
    assert (degradation.level, degradation.standing.causes) == (0, ())
    assert _sample(metrics, "degradation_level") == 0


def test_a_healthy_process_has_level_zero(degradation, metrics):
    """Alerts and dashboards need the series from the start."""
    assert _sample(metrics, "degradation_level") == 0
    degradation.observe(KAFKA, FINE)
    assert _sample(metrics, "degradation_signal_level", signal="kafka") == 0


async def test_each_change_of_level_is_published_and_logged_once(degradation, clock):
    """Status file and log follow the level; an unchanged level is not logged."""
    told = []
    degradation.on_change = told.append
    with capture_logs() as logged:
        degradation.observe(DISK, Reading(Level.MINIMAL, "full"))
        began_ms = clock.now_ms()
        await clock.advance(5)
        degradation.observe(DISK, Reading(Level.MINIMAL, "full"))
        for _ in range(10):
            degradation.observe(DISK, FINE)
    assert [standing.level for standing in told] == [3, 2]
    assert [standing.causes[0].since_ms for standing in told] == [began_ms, clock.now_ms()]
    assert [(entry["log_level"], entry["before"], entry["now"]) for entry in logged] == [
        ("warning", 0, 3),
        ("info", 3, 2),
    ]


def test_a_lesser_cause_does_not_hide_the_one_that_set_the_level(degradation):
    """While the level falls, the status still names its original cause."""
    degradation.observe(DISK, Reading(Level.MINIMAL, "full"))
    degradation.observe(DISK, Reading(Level.DEGRADED, "short"))
    assert degradation.standing.causes[0].why == "full"
    for _ in range(9):
        degradation.observe(DISK, FINE)
    assert (degradation.level, degradation.standing.causes[0].why) == (2, "full")


def test_the_worst_of_many_processes_is_shown():
    """A host is as healthy as its worst worker."""
    early, late = Standing(level=2, since_ms=5), Standing(level=2, since_ms=9)
    assert worst([Standing(level=1, since_ms=1), late, early]) is early
    assert worst([]) is HEALTHY
    assert (HEALTHY.level, HEALTHY.since_ms, HEALTHY.causes) == (0, 0, ())


async def test_silence_counts_from_the_last_answer_and_triggers_a_probe(clock):
    """While all partitions are paused no fetch is made: that alone must not look like an outage of
    Kafka.
    """
    away, asked = [False], []

    async def ask():
        asked.append(clock.monotonic())
        if away[0]:
            raise BrokerUnavailable("away")

    silence = Silence(
        "Kafka", clock, level=Level.MINIMAL, after_s=15.0, heard_at=lambda: None, ask=ask
    )
    asking = asyncio.create_task(silence.run())
    await settle()
    await clock.advance(60)
    assert silence.reading() == FINE
    away[0] = True
    await clock.advance(20)
    assert silence.reading().level == Level.MINIMAL
    away[0] = False
    await clock.advance(5)
    assert silence.reading() == FINE
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)


async def test_a_dependency_with_traffic_is_not_probed(clock):
    """Regular fetches are answered, so a probe is unnecessary."""
    asked = []

    async def ask():
        asked.append(1)

    silence = Silence(
        "Kafka", clock, level=Level.MINIMAL, after_s=15.0, heard_at=clock.monotonic, ask=ask
    )
    asking = asyncio.create_task(silence.run())
    await settle()
    await clock.advance(60)
    assert asked == []
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)


@pytest.mark.parametrize(
    ("free_bytes", "level"),
    [
        (100, Level.MINIMAL),
        (199, Level.MINIMAL),
        (200, Level.DEGRADED),
        (399, Level.DEGRADED),
        (400, Level.HEALTHY),
    ],
)
def test_a_filling_disk_raises_the_level_before_it_is_full(
    tmp_path, monkeypatch, free_bytes, level
):
    """The level before the last gives the operator time to free space."""
    usage = shutil.disk_usage(tmp_path)._replace(free=free_bytes)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    assert room_reading(tmp_path, 200)().level == level


def test_a_folder_that_refuses_writes_counts_as_full(tmp_path, monkeypatch):
    """A quota or read-only mount may have free space and refuse writes."""
    assert room_reading(tmp_path, 0, writable=lambda: False)().level == Level.MINIMAL
    assert room_reading(tmp_path, 0)() == FINE

    def refuse(folder):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(shutil, "disk_usage", refuse)
    assert room_reading(tmp_path, 1)().level == Level.MINIMAL


async def test_the_watch_reads_every_second_while_a_probe_runs(degradation, clock):
    """A hanging probe must not block the other signals."""
    looked, asked = [], []

    def read():
        looked.append(clock.monotonic())
        return FINE

    async def hang():
        asked.append(clock.monotonic())
        await asyncio.get_running_loop().create_future()

    watching = asyncio.create_task(HealthWatch(degradation, clock, {"disk": read}, [hang]).run())
    await settle()
    await clock.advance(3)
    assert looked == [0, 1, 2, 3]
    assert asked == [0]
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def test_fifteen_seconds_of_silence_are_an_outage_and_the_first_probe_comes_at_five(
    clock,
):
    """The probe is early enough for its answer to prevent the rise of the level."""
    asked = []

    async def ask():
        asked.append(clock.monotonic())
        raise BrokerUnavailable("away")

    silence = Silence(
        "Kafka", clock, level=Level.MINIMAL, after_s=15.0, heard_at=lambda: None, ask=ask
    )
    asking = asyncio.create_task(silence.run())
    await settle()
    await clock.advance(4.9)
    assert asked == []
    await clock.advance(0.1)
    assert asked == [5.0]
    await clock.advance(9.9)
    assert silence.reading() == FINE
    await clock.advance(0.1)
    assert silence.reading().level == Level.MINIMAL
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
