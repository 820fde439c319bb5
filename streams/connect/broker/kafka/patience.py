"""How long one call asks the broker again, and how long a quota makes it wait."""

from __future__ import annotations

import asyncio
import time

RETRY_S = 0.05
THROTTLED_MAX_S = 60.0
"""Longest wait for a quota within one call. Kafka mutes a client for eleven seconds at most; the
client id is shared, so another process may use up what was freed."""


class Patience:
    """The deadline of one call. Time that a quota takes does not count against ``timeout_s``."""

    def __init__(self, timeout_s: float) -> None:
        self._deadline_s = time.monotonic() + timeout_s
        self._throttled_s = 0.0

    @property
    def over(self) -> bool:
        return time.monotonic() >= self._deadline_s or self._throttled_s > THROTTLED_MAX_S

    async def throttled(self, until_s: float) -> None:
        """Wait until ``until_s`` on the monotonic clock, `THROTTLED_MAX_S` in all at most."""
        wait_s = min(until_s - time.monotonic(), THROTTLED_MAX_S)
        if wait_s > 0:
            await asyncio.sleep(wait_s)
            self._throttled_s += wait_s
            self._deadline_s += wait_s
