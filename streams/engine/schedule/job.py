"""How a scheduled job is declared."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, NamedTuple


class Findings(NamedTuple):
    """What one run found: how many things a person should look at, and words about them."""

    found: int
    detail: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledJob:
    """``work`` is called with the number of the run, which is also its fence; it must be harmless
    when it is cancelled or repeated. A run that takes longer than ``timeout_s`` has failed."""

    name: str
    interval_s: float
    timeout_s: float
    work: Callable[[int], Awaitable[Findings]]
