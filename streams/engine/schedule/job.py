"""Declaration of a scheduled job."""

from __future__ import annotations

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
