"""Rows on their way to the shards: bounded queues and one worker per shard.

A shard that is away holds back only its own rows. They are tried again, with growing pauses,
for as long as their owner wants them; who hands rows over asks `room` first and keeps the rest
in its state. Repeating is always harmless (`streams.core.rows.built_in_tables.ShardSet`), so nothing here is durable.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import structlog

from streams.core.clock import Clock
from streams.core.degradation.calls import Calls
from streams.core.errors import DiaError, ShardBusy, TransientError
from streams.core.resilience.backoff import Backoff
from streams.core.rows.built_in_tables import Rows, RowsRefused, ShardSet
from streams.core.telemetry.metrics import Metrics
from streams.core.tracing.tracer import UNTRACED, Origins, Tracer

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0

log = structlog.get_logger(__name__)

Answer = Callable[[Sequence[int], str], None]
"""Called once the shard holds every row but those at the given indexes, refused for a reason."""


@dataclass(slots=True, eq=False)
class Job:
    """Rows of one shard and whom to tell. ``owner`` is what `Delivery.forget` is called with."""

    owner: object
    rows: Rows
    answer: Answer
    origins: Origins = ()


class Delivery:
    """The queues of one process. Not durable; see the module docstring."""

    def __init__(
        self,
        shards: ShardSet,
        clock: Clock,
        metrics: Metrics,
        *,
        batch_rows: int,
        queue_rows: int,
        calls: Sequence[Calls] | None = None,
        tracer: Tracer = UNTRACED,
        seed: int = 0,
    ) -> None:
        """``calls``: where each shard's calls are measured."""
        self._shards = shards
        self._clock = clock
        self._metrics = metrics
        self._batch_rows = batch_rows
        self._queue_rows = queue_rows
        self._calls = calls or [Calls(f"shard {n}", clock) for n in range(shards.count)]
        self._tracer = tracer
        self._jitter = random.Random(seed)
        self._queues: list[dict[str, deque[Job]]] = [{} for _ in range(shards.count)]
        """of each shard by table, the one whose turn is next first"""
        self._rows = [0] * shards.count
        self._wake = [asyncio.Event() for _ in range(shards.count)]
        self._forgotten: set[int] = set()
        self._in_flight: list[list[Job]] = [[] for _ in range(shards.count)]

    async def run(self) -> None:
        """Deliver until cancelled; rows still queued are then their owners' to repeat."""
        async with asyncio.TaskGroup() as workers:
            for shard in range(self._shards.count):
                workers.create_task(self._run(shard), name=f"deliver-{shard}")

    def room(self) -> list[int]:
        """Rows each shard's queue still takes."""
        return [max(0, self._queue_rows - rows) for rows in self._rows]

    @property
    def idle(self) -> bool:
        """Nothing is queued or under way."""
        return not any(self._rows)

    def submit(self, job: Job) -> None:
        """Queue a job. It is taken even past the bound of `room`: small effects do not ask."""
        if not len(job.rows):
            job.answer((), "")
            return
        shard = job.rows.shard
        self._queues[shard].setdefault(job.rows.table, deque()).append(job)
        self._count(shard, len(job.rows))
        self._wake[shard].set()

    def forget(self, owner: object) -> None:
        """Drop what ``owner`` has queued; an insert under way goes on, unanswered."""
        for shard, queues in enumerate(self._queues):
            kept: dict[str, deque[Job]] = {}
            for table, queue in queues.items():
                its = [job for job in queue if job.owner is owner]
                self._count(shard, -sum(len(job.rows) for job in its))
                if len(its) < len(queue):
                    kept[table] = deque(job for job in queue if job.owner is not owner)
            self._queues[shard] = kept
            for job in self._in_flight[shard]:
                if job.owner is owner:
                    job.answer = _unheard

    def _count(self, shard: int, rows: int) -> None:
        self._rows[shard] += rows
        self._metrics.sink.queue_rows.labels(shard).set(self._rows[shard])

    async def _run(self, shard: int) -> None:
        while True:
            while not self._queues[shard]:
                self._wake[shard].clear()
                await self._wake[shard].wait()
            jobs = self._in_flight[shard] = self._next(shard)
            await self._deliver(shard, jobs)
            self._in_flight[shard] = []

    def _next(self, shard: int) -> list[Job]:
        """The jobs of one insert, all for one table; the tables take turns.

        A commit brings rows for several tables. Taken in their order they would part the rows
        of one table into as many inserts as there were commits.
        """
        queues = self._queues[shard]
        table = next(iter(queues))
        queue = queues.pop(table)
        jobs = [queue.popleft()]
        rows = len(jobs[0].rows)
        while queue and rows + len(queue[0].rows) <= self._batch_rows:
            jobs.append(queue.popleft())
            rows += len(jobs[-1].rows)
        if queue:
            queues[table] = queue
        return jobs

    async def _deliver(self, shard: int, jobs: list[Job]) -> None:
        """Insert until the shard took it, or nobody waits for the answer any more."""
        rows = sum(len(job.rows) for job in jobs)
        backoff = Backoff(self._clock, _FIRST_PAUSE_S, _LONGEST_PAUSE_S)
        refused: Sequence[int] = ()
        reason = ""
        while any(job.answer is not _unheard for job in jobs):
            began = self._clock.monotonic()
            try:
                with self._calls[shard].call(), self._span(shard, jobs, rows):
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
    """The answer of a job whose owner is gone."""
