"""The level of a process, what it forbids, and how the world is told."""

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
    """Whoever is called wants to know what is wrong, since when, and what else."""
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


def test_actions_look_at_the_signals_they_are_about(degradation):
    """A shard delays its own rows only, Redis none, and Kafka pauses nobody: there would be no
    fetch by which its return is noticed."""
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


def test_it_falls_slowly_and_forgets_the_cause(degradation, metrics):
    """Ten good looks a level: a disk that fills and empties must not make partitions flap."""
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


def test_a_process_that_is_well_shows_level_zero(degradation, metrics):
    """An alert on a series that does not exist yet never fires, and a board shows a hole."""
    assert _sample(metrics, "degradation_level") == 0
    degradation.observe(KAFKA, FINE)
    assert _sample(metrics, "degradation_signal_level", signal="kafka") == 0


async def test_each_move_is_told_once_and_logged(degradation, clock):
    """The status file and the log follow the level; a level that stays is no move."""
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
    """While a level fades, people must read what brought it there."""
    degradation.observe(DISK, Reading(Level.MINIMAL, "full"))
    degradation.observe(DISK, Reading(Level.DEGRADED, "short"))
    assert degradation.standing.causes[0].why == "full"
    for _ in range(9):
        degradation.observe(DISK, FINE)
    assert (degradation.level, degradation.standing.causes[0].why) == (2, "full")


def test_the_worst_of_many_processes_is_shown():
    """A host is as well as its worst worker."""
    early, late = Standing(level=2, since_ms=5), Standing(level=2, since_ms=9)
    assert worst([Standing(level=1, since_ms=1), late, early]) is early
    assert worst([]) is HEALTHY
    assert (HEALTHY.level, HEALTHY.since_ms, HEALTHY.causes) == (0, 0, ())


async def test_silence_counts_from_the_last_answer_and_asks_for_one(clock):
    """Where everything is paused nobody fetches: that alone must not look like Kafka's absence."""
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


async def test_nobody_is_asked_who_talks(clock):
    """Fetches are answered all day long: a question beside them would be for nothing."""
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
def test_room_that_gets_short_is_told_before_it_is_gone(tmp_path, monkeypatch, free_bytes, level):
    """The level before the last is the time to make room."""
    usage = shutil.disk_usage(tmp_path)._replace(free=free_bytes)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    assert room_reading(tmp_path, 200)().level == level


def test_a_folder_that_takes_no_write_is_full_whatever_its_room(tmp_path, monkeypatch):
    """Quotas and read-only mounts have room and take nothing."""
    assert room_reading(tmp_path, 0, writable=lambda: False)().level == Level.MINIMAL
    assert room_reading(tmp_path, 0)() == FINE

    def refuse(folder):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(shutil, "disk_usage", refuse)
    assert room_reading(tmp_path, 1)().level == Level.MINIMAL


async def test_the_watch_looks_every_second_and_asks_beside(degradation, clock):
    """A question that hangs must not keep the other signals from being read."""
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


async def test_fifteen_seconds_of_silence_are_an_absence_and_the_first_question_comes_at_five(
    clock,
):
    """A question early enough that an answer to it comes before the level rises."""
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
