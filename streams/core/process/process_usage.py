"""Processor time and memory of this process, as the load history keeps them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

_STATM = Path("/proc/self/statm")


class Usage(NamedTuple):
    """``cpu_s``: processor seconds since the start, with those of ended children.
    ``memory_bytes``: resident."""

    cpu_s: float
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class ProcessUsage:
    """``name`` and ``started_ms`` identify the process, whose ``cpu_s`` only rises."""

    name: str = ""
    started_ms: int = 0
    read: Callable[[], Usage] = lambda: Usage(0.0, 0)


def usage_of_this_process() -> Usage:
    """Raises OSError where the system does not tell it."""
    times = os.times()
    cpu_s = times.user + times.system + times.children_user + times.children_system
    pages = int(_STATM.read_text().split()[1])
    return Usage(cpu_s, pages * os.sysconf("SC_PAGE_SIZE"))
