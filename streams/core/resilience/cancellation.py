"""The end of a cancelled task. A client library may suppress a cancellation: it is repeated, and the wait is bounded."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import structlog

from streams.core.clock import Clock
from streams.core.resilience.unread_error import read_error

CANCELLATIONS: Final = 3
ENDS_WITHIN_S: Final = 5.0
"""after each of them"""

log = structlog.get_logger(__name__)


async def cancel(task: asyncio.Future[Any], clock: Clock, what: str) -> bool:
    """Whether ``task`` ended. One that suppresses each cancellation is left behind; ``what`` names it in the log."""
    task.add_done_callback(read_error)
    for _ in range(CANCELLATIONS):
        task.cancel()
        await clock.wait(task, ENDS_WITHIN_S)
        if task.done():
            return True
        log.error("cancellation_suppressed", task=what)
    return False
