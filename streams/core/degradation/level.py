"""The words of degradation: a level, one reading of a signal, and how a process stands."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple

import msgspec


class Level(IntEnum):
    """See the package's docstring for what each one means."""

    HEALTHY = 0
    DEGRADED = 1
    PARTIAL = 2
    MINIMAL = 3


class Reading(NamedTuple):
    """What one look at a signal found; ``why`` is for people, "" when there is nothing wrong."""

    level: Level
    why: str = ""


FINE = Reading(Level.HEALTHY)


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """A signal above level 0, and why it came to be there."""

    signal: str
    level: int
    why: str
    since_ms: int


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How a process stands: its level, since when (ms since the epoch, UTC), and the signals above
    level 0, worst first. It is what status files and HTTP surfaces show."""

    level: int = 0
    since_ms: int = 0
    causes: tuple[Cause, ...] = ()


def worst(standings: Iterable[Standing]) -> Standing:
    """The one with the highest level, of equals the one that came to it first; level 0 of none."""
    return min(
        standings, key=lambda standing: (-standing.level, standing.since_ms), default=HEALTHY
    )


HEALTHY = Standing()
