"""asyncio logs the error of a task that is never read, also where its end no longer matters."""

from __future__ import annotations

import asyncio
from typing import Any


def read_error(future: asyncio.Future[Any]) -> None:
    """Retrieve the error of a future that has ended with one. A callback of it, too."""
    if future.done() and not future.cancelled():
        future.exception()
