"""Sends blocks of records to a topic, a few in flight, at a rate or at full speed.

The broker may be away meanwhile: a feed waits for it, tells that it waits, and gives up after its patience."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

from streams.core.clock import Clock
from streams.core.errors import BrokerUnavailable
from streams.core.records.headers import TRACEPARENT
from streams.core.tracing.tracer import UNTRACED, Tracer
from streams.core.types import Headers

BLOCKS_IN_FLIGHT_MAX = 8
"""It keeps the broker busy, and bounds memory at 1 MiB a record."""
PATIENCE_S = 300.0
"""A broker that restarts is back within a minute."""
TELL_EVERY_S = 5.0

Result = TypeVar("Result")


class BlockProducer(Protocol):
    """The part of a `PlainProducer` that a feed needs."""

    async def send_many(
        self, topic: str, keys: Sequence[bytes], values: Sequence[bytes], headers: Headers = ()
    ) -> Awaitable[None]: ...


class RecordFeed:
    """``rate_per_s`` None: full speed. ``on_progress`` receives each acknowledged count, ``on_waiting``
    the seconds for which the broker has acknowledged nothing, every `TELL_EVERY_S`, and 0 after that.
    Traced blocks carry ``traceparent``; all carry ``headers``.

    ``acknowledged`` counts records; ``acknowledged_to`` is the ``end`` of the last block before which
    every record is acknowledged."""

    def __init__(
        self,
        producer: BlockProducer,
        topic: str,
        clock: Clock,
        *,
        rate_per_s: float | None = None,
        on_progress: Callable[[int], None] = lambda _: None,
        on_waiting: Callable[[float], None] = lambda _: None,
        patience_s: float = PATIENCE_S,
        tracer: Tracer = UNTRACED,
        traceparent: bytes = b"",
        headers: Headers = (),
    ) -> None:
        self.acknowledged = 0
        self.acknowledged_to = 0
        self._producer = producer
        self._topic = topic
        self._clock = clock
        self._rate_per_s = rate_per_s
        self._on_progress = on_progress
        self._on_waiting = on_waiting
        self._patience_s = patience_s
        self._tracer = tracer
        self._traceparent = traceparent
        self._headers = headers
        self._started_at: float | None = None
        self._sent = 0
        self._end = 0
        self._in_flight: deque[tuple[int, int, Awaitable[None]]] = deque()

    async def send(self, keys: Sequence[bytes], values: Sequence[bytes], end: int = 0) -> None:
        """Queue one block; wait for its turn and for space. ``end``: the caller's position behind it.

        Raises the errors of the producer, and `BrokerUnavailable` after the patience."""
        if not keys:
            if not self._in_flight:
                self.acknowledged_to = end
            return
        await self._pace()
        while len(self._in_flight) >= BLOCKS_IN_FLIGHT_MAX:
            await self._settle_oldest()
        with self._tracer.taking(self._topic, self._traceparent) as taken:
            traceparent = taken or self._traceparent
            followed = ((TRACEPARENT, traceparent),) if traceparent else ()
            headers = (*self._headers, *followed)
            sent = await self._patiently(
                self._producer.send_many(self._topic, keys, values, headers)
            )
        self._in_flight.append((len(keys), end, sent))
        self._sent += len(keys)

    async def drain(self) -> None:
        while self._in_flight:
            await self._settle_oldest()

    async def _settle_oldest(self) -> None:
        size, end, acknowledged = self._in_flight.popleft()
        await self._patiently(acknowledged)
        self.acknowledged += size
        self.acknowledged_to = end
        self._on_progress(size)

    async def _patiently(self, work: Awaitable[Result]) -> Result:
        task, began_s, waited_s = asyncio.ensure_future(work), self._clock.monotonic(), 0.0
        try:
            while not task.done():
                await self._clock.wait(task, TELL_EVERY_S)
                if task.done():
                    break
                waited_s = self._clock.monotonic() - began_s
                if waited_s >= self._patience_s:
                    raise BrokerUnavailable(
                        f"Kafka has acknowledged no record of {self._topic} for {waited_s:.0f} s. "
                        "`dia doctor` checks the broker."
                    )
                self._on_waiting(waited_s)
            if waited_s:
                self._on_waiting(0.0)
            return task.result()
        finally:
            task.cancel()

    async def _pace(self) -> None:
        now = self._clock.monotonic()
        if self._started_at is None:
            self._started_at = now
        if self._rate_per_s is not None:
            due = self._started_at + self._sent / self._rate_per_s
            if due > now:
                await self._clock.sleep(due - now)
