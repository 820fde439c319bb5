"""Sends blocks of records to a topic, a few in flight, at a rate or at full speed."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from streams.core.clock import Clock
from streams.core.records.headers import TRACEPARENT
from streams.core.tracing.tracer import UNTRACED, Tracer
from streams.core.types import Headers

BLOCKS_IN_FLIGHT_MAX = 8
"""It keeps the broker busy, and bounds memory at 1 MiB a record."""


class BlockProducer(Protocol):
    """The part of a `PlainProducer` that a feed needs."""

    async def send_many(
        self, topic: str, keys: Sequence[bytes], values: Sequence[bytes], headers: Headers = ()
    ) -> Awaitable[None]: ...


class RecordFeed:
    """``rate_per_s`` None: full speed. ``on_progress`` receives each acknowledged count. Traced
    blocks carry ``traceparent``; all carry ``headers``."""

    def __init__(
        self,
        producer: BlockProducer,
        topic: str,
        clock: Clock,
        *,
        rate_per_s: float | None = None,
        on_progress: Callable[[int], None] = lambda _: None,
        tracer: Tracer = UNTRACED,
        traceparent: bytes = b"",
        headers: Headers = (),
    ) -> None:
        self.acknowledged = 0
        self._producer = producer
        self._topic = topic
        self._clock = clock
        self._rate_per_s = rate_per_s
        self._on_progress = on_progress
        self._tracer = tracer
        self._traceparent = traceparent
        self._headers = headers
        self._started_at: float | None = None
        self._sent = 0
        self._in_flight: deque[tuple[int, Awaitable[None]]] = deque()

    async def send(self, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        """Queue one block; wait for its turn and for space. Raises the errors of the producer."""
        if not keys:
            return
        await self._pace()
        while len(self._in_flight) >= BLOCKS_IN_FLIGHT_MAX:
            await self._settle_oldest()
        with self._tracer.taking(self._topic, self._traceparent) as taken:
            traceparent = taken or self._traceparent
            followed = ((TRACEPARENT, traceparent),) if traceparent else ()
            headers = (*self._headers, *followed)
            sent = await self._producer.send_many(self._topic, keys, values, headers)
        self._in_flight.append((len(keys), sent))
        self._sent += len(keys)

    async def drain(self) -> None:
        while self._in_flight:
            await self._settle_oldest()

    async def _settle_oldest(self) -> None:
        size, acknowledged = self._in_flight.popleft()
        await acknowledged
        self.acknowledged += size
        self._on_progress(size)

    async def _pace(self) -> None:
        now = self._clock.monotonic()
        if self._started_at is None:
            self._started_at = now
        if self._rate_per_s is not None:
            due = self._started_at + self._sent / self._rate_per_s
            if due > now:
                await self._clock.sleep(due - now)
