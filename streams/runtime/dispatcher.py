"""The work of one agent in one process: what waits, what runs, what is tried again.

It knows nothing of offsets or commits: a partition hands in work and is told the outcome, in the
loop's thread. Work of a partition that left is dropped and stopped: whoever has the partition now
does it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import structlog

from streams.clock import Clock
from streams.errors import (
    BadRecord,
    Disposition,
    InvalidParameters,
    JobRefused,
    PolicyRejected,
    SimulationCancelled,
    TransientError,
    UnknownScenario,
)
from streams.job_agent import Ask, Outcome, Performer
from streams.queue_policy import HIGH_PRIORITY, QueuePolicy
from streams.runtime.fair_queue import LANES, FairQueue, Lane
from streams.runtime.rate import Rate
from streams.telemetry.metrics import Metrics

_TICK_S = 0.1
"""How soon after a rate, a backoff or a held performer allows it work starts."""
HOLD_S = 1.0
"""How long nothing starts after work found that what it needs is away; then some of it asks again."""
_JOBS_A_TASK = 8
"""So many at most in one turn of the loop, where none of them waits for anything."""
_REJECTED = (UnknownScenario, InvalidParameters, PolicyRejected)

log = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class Work:
    """One request's work. ``done`` is called once, unless its owner is forgotten before."""

    owner: object
    event: Any
    ask: Ask
    done: Callable[[Outcome], None]
    since_s: float = 0.0
    started_ms: int = 0
    failures: int = 0
    due_s: float = 0.0
    lane: Lane = "normal"
    ended: bool = False


class Dispatcher:
    """See the module docstring. Bounded by what its partitions may read ahead."""

    def __init__(
        self, performer: Performer, clock: Clock, metrics: Metrics, normal_share: float
    ) -> None:
        self.performer = performer
        self._clock = clock
        self._metrics = metrics
        self._wait_seconds = {lane: metrics.jobs.wait_seconds.labels(lane) for lane in LANES}
        self._finished_jobs = cache(metrics.jobs.finished.labels)
        self._queue: FairQueue[Work] = FairQueue(normal_share)
        # By age and not by address, as sets of them would be: a seed makes one history.
        self._running: dict[asyncio.Task[None], Work] = {}
        self._by_queue: Counter[str] = Counter()
        self._pausing: dict[Work, None] = {}
        self._rates: dict[str, Rate] = {}
        self._held_until_s = float("-inf")

    @property
    def held(self) -> bool:
        """Nothing starts now; partitions should take nothing in."""
        return self._clock.monotonic() < self._held_until_s

    def submit(self, work: Work) -> None:
        """It waits from now on, and starts when its turn comes."""
        work.since_s = self._clock.monotonic()
        work.lane = self._lane(work)
        self._wait(work)
        self._start_what_may()

    def cancel(self, work: Work) -> None:
        """Stop it wherever it is; its outcome is that it was cancelled."""
        self._stop(lambda other: other is work)
        error = SimulationCancelled("the simulation was cancelled by a request of its tenant.")
        self._finish(work, _refused(work, error, self._clock.now_ms()))

    def forget(self, owner: object) -> None:
        """Drop and stop all work of ``owner``; nobody is told."""
        self._stop(lambda work: work.owner is owner)

    async def run(self) -> None:
        """Start what time allows, until cancelled."""
        while True:
            await self._clock.sleep(_TICK_S)
            now_s = self._clock.monotonic()
            for work in [work for work in self._pausing if work.due_s <= now_s]:
                del self._pausing[work]
                self._wait(work)
            self._start_what_may()
            for lane in LANES:
                self._metrics.jobs.waiting.labels(lane).set(self._queue.length(lane))
            self._metrics.jobs.running.set(len(self._running))

    async def close(self) -> None:
        """Stop everything, the performer too."""
        self._stop(lambda work: True)
        await self.performer.close()

    # --- starting ----------------------------------------------------------------------------

    def _wait(self, work: Work) -> None:
        self._queue.push(work.lane, work.ask.tenant, work.ask.queue, work)

    def _lane(self, work: Work) -> Lane:
        priority = self._policy(work).priority
        if priority is None:
            priority = work.ask.priority
        return "high" if priority >= HIGH_PRIORITY else "normal"

    def _policy(self, work: Work) -> QueuePolicy:
        return self.performer.queue(work.ask.queue)

    def _start_what_may(self) -> None:
        while len(self._running) < self.performer.slots:
            work = self._next()
            if work is None:
                return
            task = asyncio.create_task(self._perform_some(work), name="jobs")
            self._running[task] = work
            # Not in the task itself: one that is cancelled before its first step never runs at all.
            task.add_done_callback(self._ended)

    def _next(self) -> Work | None:
        """The work that starts now, if any may."""
        work = None if self.held else self._queue.pop(self._may_start)
        if work is not None:
            self._start(work)
        return work

    def _may_start(self, queue: str) -> bool:
        policy = self.performer.queue(queue)
        if policy.concurrency is not None and self._by_queue[queue] >= policy.concurrency:
            return False
        return policy.rate_per_s is None or self._rate(queue, policy.rate_per_s).allows(
            self._clock.monotonic()
        )

    def _rate(self, queue: str, per_s: float) -> Rate:
        return self._rates.setdefault(queue, Rate(per_s, self._clock.monotonic()))

    def _start(self, work: Work) -> None:
        policy = self._policy(work)
        if policy.rate_per_s is not None:
            self._rate(work.ask.queue, policy.rate_per_s).take()
        now_s = self._clock.monotonic()
        if not work.started_ms:
            self._wait_seconds[work.lane].observe(now_s - work.since_s)
        work.started_ms = self._clock.now_ms()
        self._by_queue[work.ask.queue] += 1

    def _ended(self, task: asyncio.Task[None]) -> None:
        work = self._released(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            queue = work.ask.queue if work is not None else ""
            log.error("job_failed", queue=queue, why=repr(error))
        self._start_what_may()

    def _released(self, task: asyncio.Task[None]) -> Work | None:
        """The work that ``task`` was at, which runs no longer."""
        work = self._running.pop(task, None)
        if work is not None:
            self._by_queue[work.ask.queue] -= 1
        return work

    # --- running -----------------------------------------------------------------------------

    async def _perform_some(self, work: Work) -> None:
        """A task for each would cost as much as a short job. Nothing is awaited between two: who
        cancels the task means the work that it is at."""
        task = asyncio.current_task()
        assert task is not None
        for _ in range(_JOBS_A_TASK - 1):
            await self._perform(work)
            self._released(task)
            following = self._next()
            if following is None:
                return
            work = self._running[task] = following
        await self._perform(work)

    async def _perform(self, work: Work) -> None:
        began_s = self._clock.monotonic()
        outcome = await self._outcome(work)
        self._metrics.jobs.run_seconds.observe(self._clock.monotonic() - began_s)
        if outcome is not None:
            self._finish(work, outcome)

    async def _outcome(self, work: Work) -> Outcome | None:
        """None when it is to be tried again."""
        try:
            summary = await self.performer.perform(work.event)
        except (JobRefused, BadRecord) as error:
            return _refused(work, error, self._clock.now_ms())
        except TransientError as error:
            return self._failed(work, error)
        except Exception as error:
            log.exception("job_failed", queue=work.ask.queue)
            return _refused(work, error, self._clock.now_ms())
        now_ms = self._clock.now_ms()
        return Outcome("completed", summary, "", "", work.started_ms, now_ms)

    def _failed(self, work: Work, error: TransientError) -> Outcome | None:
        self._metrics.jobs.failures.labels(error.code).inc()
        policy = self._policy(work)
        if error.disposition is Disposition.PAUSE:
            self._held_until_s = self._clock.monotonic() + HOLD_S
        else:
            work.failures += 1
        if work.failures >= policy.attempts:
            return _refused(work, error, self._clock.now_ms())
        work.due_s = self._clock.monotonic() + policy.pause_s(max(1, work.failures))
        self._pausing[work] = None
        log.info("job_again", queue=work.ask.queue, code=error.code, failures=work.failures)
        return None

    def _finish(self, work: Work, outcome: Outcome) -> None:
        if work.ended:
            return
        work.ended = True
        self._finished_jobs(outcome.status).inc()
        work.done(outcome)

    def _stop(self, unwanted: Callable[[Work], bool]) -> None:
        self._queue.remove(unwanted)
        self._pausing = {work: None for work in self._pausing if not unwanted(work)}
        for task in [task for task, work in self._running.items() if unwanted(work)]:
            task.cancel()


def _refused(work: Work, error: Exception, now_ms: int) -> Outcome:
    """The outcome that says why there is no summary."""
    code = getattr(error, "code", "simulation_failed")
    if isinstance(error, SimulationCancelled):
        status = "cancelled"
    else:
        status = "rejected" if isinstance(error, _REJECTED) else "failed"
    return Outcome(status, {}, code, str(error)[:1000], work.started_ms or now_ms, now_ms)
