"""One service of the stack as data: start, probe, stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """``argv[0]`` is an absolute path. ``serves`` answers within a second and never raises.
    Services stop by ``stop_rank``, lowest first, equal ones together."""

    name: str
    address: str
    argv: tuple[str, ...]
    log: Path
    serves: Callable[[], bool]
    stop_rank: int
    ready_timeout_s: float
    stop_timeout_s: float
