"""An answer of the broker that a caller may drop without waiting for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

Result = TypeVar("Result")


def quiet(result: Awaitable[Result]) -> asyncio.Future[Result]:
    """Run ``result`` now; a caller that drops it gets no complaint of the event loop."""
    task = asyncio.ensure_future(result)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return task
