"""Code of an app that runs beside its agents, in each worker process: once, or repeatedly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class BackgroundTask:
    """``run`` is a coroutine function without arguments. With ``interval_s`` it runs so many seconds
    after its last end, with ``cron`` at the minutes of that expression in the time zone ``timezone``, else
    once."""

    name: str
    run: Callable[[], Any]
    interval_s: float | None = None
    cron: str = ""
    timezone: str = "UTC"
