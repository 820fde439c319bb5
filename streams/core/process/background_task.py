"""Code of an app that runs beside its agents in each worker process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class BackgroundTask:
    """``run`` is a coroutine function without arguments. It runs once, or ``interval_s`` seconds
    after its last end, or at the minutes of ``cron`` in ``timezone``."""

    name: str
    run: Callable[[], Any]
    interval_s: float | None = None
    cron: str = ""
    timezone: str = "UTC"
