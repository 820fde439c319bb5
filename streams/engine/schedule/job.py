"""Declaration of a scheduled job."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, NamedTuple


class Findings(NamedTuple):
    """The result of one run: the number of problems found, and details."""

    found: int
    detail: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledJob:
    """``work`` gets the number of the run, which is also its fence; it must tolerate cancellation
    and repetition. A run longer than ``timeout_s`` fails."""

    name: str
    interval_s: float
    timeout_s: float
    work: Callable[[int], Awaitable[Findings]]
    show: Callable[[Findings | None, bool], None] | None = None
    """gets the last complete run's result (None without one) and whether this process leads"""


def age_s(now_ms: int, began_ms: int | None) -> float:
    """Of what began at ``began_ms``; infinite for None, and for a time in the future, by a clock that was set back:
    it would look young for as long."""
    return math.inf if began_ms is None or began_ms > now_ms else (now_ms - began_ms) / 1000
