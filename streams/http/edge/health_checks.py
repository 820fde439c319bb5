"""Health signals of an edge: publishing to Kafka, and space on its disk. It needs one of the two.

Level 1: events wait on its disk, or its disk is full while Kafka accepts all. Level 3: it cannot
store events and refuses requests."""

from __future__ import annotations

from pathlib import Path

from streams.core.clock import Clock
from streams.core.degradation.degradation import DISK, KAFKA, Degradation
from streams.core.degradation.level import Level, Reading
from streams.core.degradation.room import room_reading
from streams.core.degradation.silence import Silence
from streams.core.degradation.watch import HealthWatch, Read
from streams.http.edge.validator import Validator

STRAIGHT_S = 5.0
"""Connecting and draining take a moment, without an alarm."""


def edge_watch(
    degradation: Degradation, clock: Clock, intake: Validator, folder: Path, free_min_bytes: int
) -> HealthWatch:
    """``folder`` holds the spools."""
    lanes = intake.lanes.values()
    direct = Silence(
        "Kafka",
        clock,
        level=Level.DEGRADED,
        after_s=STRAIGHT_S,
        heard_at=lambda: clock.monotonic() if all(lane.direct for lane in lanes) else None,
    )
    room = _needed_room(intake, room_reading(folder, free_min_bytes))
    return HealthWatch(degradation, clock, {KAFKA: direct.reading, DISK: room})


def _needed_room(intake: Validator, room: Read) -> Read:
    """A full disk is level 3 only while no lane goes direct."""

    def read() -> Reading:
        found = room()
        if any(lane.direct for lane in intake.lanes.values()):
            return Reading(min(found.level, Level.DEGRADED), found.why)
        return found

    return read
