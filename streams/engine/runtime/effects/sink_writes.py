"""Writes committed rows to the sinks of an app. Each sink has its own queue and pauses.

The state owes the rows, so nothing here is durable; the outbox bounds the queues.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import structlog

from streams.connect.sinks.opened_sink import OpenedSink
from streams.core.clock import Clock
from streams.core.resilience.backoff import Backoff
from streams.core.rows.built_in_tables import RowsRefused
from streams.core.rows.row_sink import DeclaredSink, RowBatch
from streams.core.settings import Settings
from streams.core.telemetry.metrics import Metrics

_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 30.0

log = structlog.get_logger(__name__)

Answer = Callable[[Sequence[int], str], None]
"""called once the sink has the rows, except the given indexes, refused for the given reason"""


class _Waiting(NamedTuple):
    owner: object
    batch: RowBatch
    answer: Answer


class _Writer:
    def __init__(
        self, declared: DeclaredSink, settings: Settings, clock: Clock, metrics: Metrics
    ) -> None:
        self.queue: deque[_Waiting] = deque()
        self.wake = asyncio.Event()
        self._name = declared.name
        self._sink = OpenedSink(declared, settings)
        self._clock = clock
        self._metrics = metrics

    async def run(self) -> None:
        backoff = Backoff(self._clock, _FIRST_PAUSE_S, _LONGEST_PAUSE_S)
        while True:
            while not self.queue:
                self.wake.clear()
                await self.wake.wait()
            waiting = self.queue[0]
            try:
                refused, reason = await self._write(waiting.batch)
            except Exception as error:  # noqa: BLE001 - a sink may raise anything; its rows are kept
                self._failed(waiting.batch, error)
                await backoff.pause()
                continue
            backoff.reset()
            if self.queue and self.queue[0] is waiting:  # else the partition was dropped
                self.queue.popleft()
                self._shown(len(waiting.batch) - len(refused), len(refused))
                waiting.answer(refused, reason)

    async def _write(self, batch: RowBatch) -> tuple[Sequence[int], str]:
        """Indexes of the rows that the sink refuses, and the reason."""
        try:
            await self._sink.write(batch)
        except RowsRefused as refusal:
            return refusal.indexes, refusal.reason
        return (), ""

    def _failed(self, batch: RowBatch, error: Exception) -> None:
        self._metrics.sink.named_errors.labels(self._name).inc()
        log.warning(
            "sink_failed", sink=self._name, batch=batch.name, waiting=len(self.queue),
            error=f"{type(error).__name__}: {error}"[:500],
        )  # fmt: skip

    def _shown(self, stored: int, refused: int) -> None:
        self._metrics.sink.named_rows.labels(self._name).inc(stored)
        if refused:
            self._metrics.sink.rows_refused.labels(self._name).inc(refused)

    async def close(self) -> None:
        await self._sink.close()


class SinkWrites:
    def __init__(
        self,
        sinks: Iterable[DeclaredSink],
        settings: Settings,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._writers = {sink.name: _Writer(sink, settings, clock, metrics) for sink in sinks}

    def submit(self, owner: object, batch: RowBatch, answer: Answer) -> None:
        """Queue ``batch`` for its sink; ``answer`` is called after the write."""
        writer = self._writers[batch.sink]
        writer.queue.append(_Waiting(owner, batch, answer))
        writer.wake.set()

    def forget(self, owner: object) -> None:
        """Drop the batches of ``owner``; a write in progress ends without an answer."""
        for writer in self._writers.values():
            kept = [waiting for waiting in writer.queue if waiting.owner is not owner]
            writer.queue.clear()
            writer.queue.extend(kept)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for name, writer in self._writers.items():
                tasks.create_task(writer.run(), name=f"sink-{name}")

    async def close(self) -> None:
        await asyncio.gather(*(writer.close() for writer in self._writers.values()))
