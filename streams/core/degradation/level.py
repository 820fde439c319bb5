"""Degradation levels, readings of signals, and the status of a process."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple

import msgspec


class Level(IntEnum):
    HEALTHY = 0
    DEGRADED = 1
    PARTIAL = 2
    MINIMAL = 3


class Reading(NamedTuple):
    """``why`` is "" at level 0."""

    level: Level
    why: str = ""


FINE = Reading(Level.HEALTHY)


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """A signal above level 0, and the reason."""

    signal: str
    level: int
    why: str
    since_ms: int


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """The process's level, its start (ms since the epoch, UTC), and the signals above level 0,
    worst first."""

    level: int = 0
    since_ms: int = 0
    causes: tuple[Cause, ...] = ()


def worst(standings: Iterable[Standing]) -> Standing:
    """The highest level, of equals the earliest; level 0 where there are none."""
    return min(
        standings, key=lambda standing: (-standing.level, standing.since_ms), default=HEALTHY
    )


HEALTHY = Standing()
