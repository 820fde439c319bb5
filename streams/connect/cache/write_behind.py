"""Write-behind: accepts changes at once and writes them in batches."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Generic, TypeVar

import structlog

from streams.core.clock import Clock
from streams.core.errors import TransientError
from streams.core.resilience.backoff import Backoff
from streams.core.telemetry.metrics import Metrics

V = TypeVar("V")
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0

log = structlog.get_logger(__name__)


class WriteBehind(Generic[V]):
    """At most ``bound`` names wait, with the newest value of each; `put` waits beyond that.

    ``write`` must be idempotent: a failed batch is repeated. A killed process loses waiting
    values."""

    def __init__(
        self,
        name: str,
        write: Callable[[Mapping[str, V]], Awaitable[None]],
        clock: Clock,
        metrics: Metrics,
        *,
        bound: int,
        interval_s: float,
    ) -> None:
        self._name = name
        self._write = write
        self._clock = clock
        self._metrics = metrics
        self._bound = bound
        self._interval_s = interval_s
        self._waiting: dict[str, V] = {}
        self._room = asyncio.Condition()
        self._writing = asyncio.Lock()

    def __len__(self) -> int:
        return len(self._waiting)

    async def put(self, name: str, value: V) -> None:
        """Replaces an older value of this name."""
        async with self._room:
            await self._room.wait_for(lambda: name in self._waiting or len(self) < self._bound)
            self._waiting[name] = value
            self._show()

    def offer(self, name: str, value: V) -> bool:
        """Without waiting: False, and nothing queued, when the queue is full."""
        if name not in self._waiting and len(self) >= self._bound:
            return False
        self._waiting[name] = value
        self._show()
        return True

    def waiting(self, name: str) -> V | None:
        return self._waiting.get(name)

    async def run(self) -> None:
        """Until cancelled; call `flush` afterwards."""
        first_s = max(2 * self._interval_s, _FIRST_PAUSE_S)
        backoff = Backoff(self._clock, first_s, _LONGEST_PAUSE_S)
        pause_s = self._interval_s
        while True:
            await self._clock.sleep(pause_s)
            try:
                await self.flush()
            except TransientError as error:
                log.warning("write_behind_deferred", cache=self._name, code=error.code)
                pause_s = backoff.next_s()
            else:
                backoff.reset()
                pause_s = self._interval_s

    async def flush(self) -> None:
        """Raises the errors of ``write`` and keeps the values."""
        async with self._writing:
            batch = dict(self._waiting)
            if not batch:
                return
            await self._write(batch)
            async with self._room:
                for name, value in batch.items():
                    # A newer value that arrived meanwhile stays in the queue.
                    if self._waiting.get(name) is value:
                        del self._waiting[name]
                self._room.notify_all()
                self._show()

    def _show(self) -> None:
        self._metrics.cache.behind.labels(self._name).set(len(self._waiting))
