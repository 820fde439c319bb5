"""Delivers rows to the shards: bounded queues and one worker per shard.

A table's rows are inserted when a job has waited `Job.wait_s` or when they fill an insert. While a
shard's queue is half full, its largest table is inserted too: waiting rows take room from urgent
ones. An unavailable shard delays only its own rows, which are retried with growing pauses until
their owner forgets them. A caller checks `room` first. Nothing here is durable: repeating an insert
is harmless."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import structlog

from streams.connect.sinks.waiting_rows import Job, WaitingRows
from streams.core.clock import Clock
from streams.core.degradation.calls import Calls
from streams.core.errors import DiaError, ShardBusy, TransientError
from streams.core.resilience.backoff import Backoff
from streams.core.rows.built_in_tables import RowsRefused, ShardSet
from streams.core.telemetry.metrics import Metrics
from streams.core.tracing.tracer import UNTRACED, Tracer
from streams.core.wake_signal import WakeSignal

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0

log = structlog.get_logger(__name__)


class Delivery:
    def __init__(
        self,
        shards: ShardSet,
        clock: Clock,
        metrics: Metrics,
        *,
        batch_rows: int,
        queue_rows: int,
        calls: Callable[[int], Calls] | None = None,
        tracer: Tracer = UNTRACED,
        seed: int = 0,
    ) -> None:
        """``calls`` makes what measures the calls to a shard."""
        self._shards = shards
        self._clock = clock
        self._metrics = metrics
        self._batch_rows = batch_rows
        self._queue_rows = queue_rows
        self._new_calls = calls or (lambda shard: Calls(f"shard {shard}", clock))
        self.calls: list[Calls] = []
        """per shard"""
        self._tracer = tracer
        self._jitter = random.Random(seed)
        self._queues: list[dict[str, WaitingRows]] = []
        """per shard, by table in turn; none is empty"""
        self._rows: list[int] = []
        self._wake: list[WakeSignal] = []
        self._in_flight: list[list[Job]] = []
        self._workers: asyncio.TaskGroup | None = None
        self.grow()

    async def run(self) -> None:
        """Deliver until cancelled; queued rows are then left to their owners."""
        async with asyncio.TaskGroup() as self._workers:
            for shard in range(len(self._queues)):
                self._start(shard)

    def grow(self) -> None:
        """Have a queue and a worker for each shard of the set, which may have more of them."""
        for shard in range(len(self._queues), self._shards.count):
            self._queues.append({})
            self._rows.append(0)
            self._wake.append(WakeSignal(self._clock))
            self._in_flight.append([])
            self.calls.append(self._new_calls(shard))
            self._start(shard)

    def _start(self, shard: int) -> None:
        if self._workers is not None:
            self._workers.create_task(self._run(shard), name=f"deliver-{shard}")

    def room(self) -> list[int]:
        return [max(0, self._queue_rows - rows) for rows in self._rows]

    @property
    def idle(self) -> bool:
        return not any(self._rows)

    def submit(self, job: Job) -> None:
        """Even beyond `room`: small effects do not check it."""
        if not len(job.rows):
            job.answer((), "")
            return
        shard = job.rows.shard
        waiting = self._queues[shard].setdefault(job.rows.table, WaitingRows())
        waiting.add(job, self._clock.monotonic())
        self._count(shard, len(job.rows))
        self._wake[shard].notify()

    def caught_up(self, owner: object) -> None:
        """``owner`` has read its backlog: its rows are due."""
        now_s = self._clock.monotonic()
        for shard, queues in enumerate(self._queues):
            for waiting in queues.values():
                waiting.caught_up(owner, now_s)
            if queues:
                self._wake[shard].notify()

    def forget(self, owner: object) -> None:
        """An insert in flight continues without an answer."""
        for shard, queues in enumerate(self._queues):
            for waiting in queues.values():
                self._count(shard, -waiting.forget(owner))
            self._queues[shard] = {table: left for table, left in queues.items() if left}
            for job in self._in_flight[shard]:
                if job.owner is owner:
                    job.answer = _unheard

    def _count(self, shard: int, rows: int) -> None:
        self._rows[shard] += rows
        self._metrics.sink.queue_rows.labels(shard).set(self._rows[shard])

    async def _run(self, shard: int) -> None:
        while True:
            table = await self._due(shard)
            jobs = self._in_flight[shard] = self._next(shard, table)
            await self._deliver(shard, jobs)
            self._in_flight[shard] = []

    async def _due(self, shard: int) -> str:
        """Tables take turns: in arrival order each commit would make an insert per table."""
        queues = self._queues
        while True:
            now_s, next_s = self._clock.monotonic(), math.inf
            for table, waiting in queues[shard].items():
                if waiting.due_s <= now_s or waiting.rows >= self._batch_rows:
                    return table
                next_s = min(next_s, waiting.due_s)
            if self._rows[shard] >= max(1, self._queue_rows // 2):
                return max(queues[shard], key=lambda table: queues[shard][table].rows)
            await self._wake[shard].wait(next_s if next_s < math.inf else None)

    def _next(self, shard: int, table: str) -> list[Job]:
        queues = self._queues[shard]
        waiting = queues.pop(table)
        jobs = waiting.take(self._batch_rows)
        if waiting:
            queues[table] = waiting
        return jobs

    async def _deliver(self, shard: int, jobs: list[Job]) -> None:
        """Until the shard has stored the rows or no owner waits."""
        rows = sum(len(job.rows) for job in jobs)
        backoff = Backoff(self._clock, _FIRST_PAUSE_S, _LONGEST_PAUSE_S)
        refused: Sequence[int] = ()
        reason = ""
        while any(job.answer is not _unheard for job in jobs):
            began = self._clock.monotonic()
            try:
                with self.calls[shard].call(), self._span(shard, jobs, rows):
                    await self._shards.insert(shard, [job.rows for job in jobs])
            except RowsRefused as answer:
                refused, reason = answer.indexes, answer.reason
            except TransientError as error:
                self._failed(shard, error)
                await self._clock.sleep(backoff.next_s() * (0.5 + self._jitter.random()))
                continue
            self._metrics.sink.insert_seconds.labels(shard).observe(self._clock.monotonic() - began)
            self._metrics.sink.rows.labels(shard, jobs[0].rows.table).inc(rows - len(refused))
            break
        self._count(shard, -rows)
        self._tell(jobs, refused, reason)

    def _span(self, shard: int, jobs: list[Job], rows: int) -> AbstractContextManager[None]:
        origins = (job.origins for job in jobs)
        return self._tracer.inserting(shard, jobs[0].rows.table, rows, origins)

    def _tell(self, jobs: list[Job], refused: Sequence[int], reason: str) -> None:
        first = 0
        for job in jobs:
            last = first + len(job.rows)
            job.answer([index - first for index in refused if first <= index < last], reason)
            first = last
        if refused:
            self._metrics.sink.rows_refused.labels(jobs[0].rows.table).inc(len(refused))

    def _failed(self, shard: int, error: DiaError) -> None:
        self._metrics.sink.errors.labels(shard, error.code).inc()
        event = "shard_busy" if isinstance(error, ShardBusy) else "insert_failed"
        log.warning(event, shard=shard, code=error.code, error=str(error))


def _unheard(refused: Sequence[int], reason: str) -> None:
    """The callback of a job without an owner."""
