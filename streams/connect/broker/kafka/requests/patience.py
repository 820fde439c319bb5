"""Deadline and quota wait of one call."""

from __future__ import annotations

import asyncio
import time

RETRY_S = 0.05
THROTTLED_MAX_S = 60.0
"""Kafka mutes a client for 11 s at most. Processes share a client id, so another may use up the
quota."""


class Patience:
    """Quota waits do not count towards ``timeout_s``."""

    def __init__(self, timeout_s: float) -> None:
        self._deadline_s = time.monotonic() + timeout_s
        self._throttled_s = 0.0

    @property
    def over(self) -> bool:
        return time.monotonic() >= self._deadline_s or self._throttled_s > THROTTLED_MAX_S

    async def throttled(self, until_s: float) -> None:
        """Wait until ``until_s`` on the monotonic clock, for at most `THROTTLED_MAX_S` per call."""
        wait_s = min(until_s - time.monotonic(), THROTTLED_MAX_S)
        if wait_s > 0:
            await asyncio.sleep(wait_s)
            self._throttled_s += wait_s
            self._deadline_s += wait_s
