"""One service of the stack as data: how to start it, how to see that it serves, how to stop it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """``argv[0]`` is an absolute path. ``serves`` answers within a second and never raises.

    ``stop_rank`` orders the stop: lower ranks first, all of one rank side by side.
    """

    name: str
    address: str
    argv: tuple[str, ...]
    log: Path
    serves: Callable[[], bool]
    stop_rank: int
    ready_timeout_s: float
    stop_timeout_s: float
