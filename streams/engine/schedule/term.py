"""One term of a leader: S2 to S6, until it is fenced, fails, or is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from typing import Any, TypeAlias

import structlog

from streams.core.clock import Clock
from streams.core.errors import CommitInDoubt, DiaError
from streams.core.resilience.deadline import Deadline, DeadlinePassed
from streams.core.telemetry.metrics import Metrics
from streams.core.topics.topology import Topology
from streams.core.types import Broker, TransactionalProducer
from streams.engine.schedule.job import Findings, ScheduledJob
from streams.engine.schedule.journal import (
    Entry,
    Kind,
    LastRun,
    entries,
    last_of_each,
    record,
    schedule_of,
)

COMMIT_TIMEOUT_S = 20.0
LOOK_S = 1.0
ABANDONED_S = 60.0
"""time after which an unfinished run is given up and the next one is due"""
_JOB_TIMEOUT = "job_timeout"
_JOB_FAILED = "job_failed"

Beside: TypeAlias = Callable[[], Awaitable[None]]

log = structlog.get_logger(__name__)


def leader_id(topology: Topology) -> str:
    return topology.leader_group


class Term:
    """One object for each term; its state comes from the journal."""

    def __init__(
        self,
        name: str,
        jobs: Sequence[ScheduledJob],
        topology: Topology,
        broker: Broker,
        clock: Clock,
        metrics: Metrics,
        beside: Beside | None = None,
    ) -> None:
        """``beside`` runs during the term."""
        self._beside = beside
        self._name = name
        self._jobs = jobs
        self._broker = broker
        self._clock = clock
        self._metrics = metrics
        self._producer: TransactionalProducer = broker.transactional_producer(leader_id(topology))
        self._schedule = schedule_of(topology)
        self._known: dict[str, LastRun] = {}
        self._committing = asyncio.Lock()
        """a producer has one transaction at a time"""

    async def serve(self) -> None:
        """Lead until cancelled. Raises `ProducerFenced` once another process leads, `CommitInDoubt`
        and `BrokerUnavailable` if an outcome is unknown."""
        async with AsyncExitStack() as opened:
            opened.push_async_callback(self._producer.close)
            await self._producer.start()  # S2
            reader = await self._broker.reader()
            opened.push_async_callback(reader.close)
            self._known = last_of_each(await entries(reader, self._schedule))  # S3
            opened.callback(self._resign)
            if self._beside is not None:
                opened.push_async_callback(abandoned, _started(self._beside))
            self._metrics.schedule.leader.set(1)
            log.info("leading", leader=self._name, jobs=[job.name for job in self._jobs])
            for job in self._jobs:
                self._show(job)
            await _until_one_fails([self._follow(job) for job in self._jobs])

    async def _follow(self, job: ScheduledJob) -> None:
        """A long run of one job delays no other."""
        while True:
            await self._look(job)
            await self._clock.sleep(LOOK_S)

    async def _look(self, job: ScheduledJob) -> None:
        last = self._known.get(job.name)
        if last is None:
            await self._enter(job, 0, "heard_of")
        elif self._due(job, last.newest):
            await self._run(job, last.newest.run + 1)

    def _due(self, job: ScheduledJob, newest: Entry) -> bool:
        """S4. If the wall clock was set back, the job is due."""
        interval_s, since_ms = job.interval_s, newest.at_ms
        if newest.kind == "began":
            # Not at once: the run may have ended the previous leader.
            interval_s = min(interval_s, ABANDONED_S)
        elif newest.kind == "ended":
            since_ms -= int(newest.detail.get("took_ms", 0))
        age_ms = self._clock.now_ms() - since_ms
        return age_ms < 0 or age_ms >= interval_s * 1000

    async def _run(self, job: ScheduledJob, run: int) -> None:
        await self._enter(job, run, "began")
        began = self._clock.monotonic()
        found, error = Findings(0, {}), ""
        try:
            found = await Deadline(self._clock, job.timeout_s).wait(job.work(run))  # S5
        except DeadlinePassed:
            error = _JOB_TIMEOUT
        except DiaError as failure:
            error = failure.code
            log.warning("job_failed", job=job.name, run=run, code=error, why=str(failure))
        except Exception:
            error = _JOB_FAILED
            log.exception("job_failed", job=job.name, run=run)
        took_ms = round((self._clock.monotonic() - began) * 1000)
        detail = {**found.detail, "took_ms": took_ms}
        await self._enter(job, run, "ended", found.found, detail, error)  # S6
        self._metrics.schedule.runs.labels(job.name, error or "ok").inc()
        self._show(job)
        log.info("job_ended", job=job.name, run=run, found=found.found, error=error)

    async def _enter(
        self,
        job: ScheduledJob,
        run: int,
        kind: Kind,
        found: int = 0,
        detail: dict[str, object] | None = None,
        error: str = "",
    ) -> None:
        entry = Entry(
            job=job.name,
            run=run,
            kind=kind,
            at_ms=self._clock.now_ms(),
            leader=self._name,
            found=found,
            detail=detail or {},
            error=error,
        )
        async with self._committing:
            try:
                await Deadline(self._clock, COMMIT_TIMEOUT_S).wait(self._commit(entry))
            except DeadlinePassed as late:
                raise CommitInDoubt(
                    f"an entry of {job.name} took longer than {COMMIT_TIMEOUT_S:g} s"
                ) from late
        last = self._known.setdefault(job.name, LastRun(newest=entry))
        last.newest = entry
        if kind == "ended":
            last.ended = entry

    async def _commit(self, entry: Entry) -> None:
        await self._producer.begin()
        await (await self._producer.send(record(self._schedule, entry)))
        await self._producer.commit()

    def _show(self, job: ScheduledJob) -> None:
        """Show the result of the last completed run, under any leader."""
        last = self._known.get(job.name)
        complete = last.ended if last is not None else None
        if job.show is not None and (complete is None or not complete.error):
            result = Findings(complete.found, complete.detail) if complete is not None else None
            job.show(result, True)
        if last is None or last.ended is None or last.ended.error:
            return
        schedule = self._metrics.schedule
        schedule.found.labels(job.name).set(last.ended.found)
        schedule.ended.labels(job.name).set(last.ended.at_ms / 1000)

    def _resign(self) -> None:
        """Clear the gauges of the jobs: the next leader sets its own."""
        schedule = self._metrics.schedule
        schedule.leader.set(0)
        for gauge in (schedule.found, schedule.ended):
            gauge.clear()
        for job in self._jobs:
            if job.show is not None:
                job.show(None, False)
        log.info("leadership_lost", leader=self._name)


async def _until_one_fails(works: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Raises its error, after the others have ended."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _started(beside: Beside) -> asyncio.Task[None]:
    async def run() -> None:
        await beside()

    return asyncio.create_task(run(), name="beside-the-term")


async def abandoned(term: asyncio.Task[None]) -> None:
    term.cancel()
    await asyncio.gather(term, return_exceptions=True)
