"""Queues, prepares, runs and retries the work of one agent in one process (docs/protocols/jobs.md).

 W1  work waits in the fair queue                            `submit`
 W2  it is prepared without a slot, if it has needs          `_prepare`
 W3  it takes a slot and runs                                `_perform`
 W4  it ends, is retried, or is given up                     `_failed`

A partition submits work and gets the outcome, in the thread of the event loop.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType

import structlog

from streams.core.clock import Clock
from streams.core.errors import BadRecord, DependencyLate, Disposition, JobRefused, TransientError
from streams.core.job_refusals import SimulationCancelled
from streams.core.records.bad_records import RetriesExhausted
from streams.core.resilience.deadline import Deadline, DeadlinePassed
from streams.core.settings.job_retries import JobRetry
from streams.core.telemetry.metrics import Metrics
from streams.engine.agents.job_agent import Outcome, Performer
from streams.engine.agents.queue_policy import HIGH_PRIORITY, QueuePolicy
from streams.engine.health.host_scaling import CHANGES_MAX, ProcessChange
from streams.engine.runtime.jobs.ahead import Ahead
from streams.engine.runtime.jobs.fair_queue import LANES, READY, FairQueue, Lane
from streams.engine.runtime.jobs.gates import Gates, Said
from streams.engine.runtime.jobs.queue_room import QueueRoom
from streams.engine.runtime.jobs.request_log import loaded
from streams.engine.runtime.jobs.tenant_work import TenantWork
from streams.engine.runtime.jobs.work import GivenUp, Work, WorkOwner, answered_before, refused

_TICK_S = 0.1
"""longest delay of a start after a rate, a pause or a gate allows it"""
HOLD_S = 1.0
"""time for which a gate stays shut after a PAUSE error; then one work asks again"""
JITTER = 0.2
"""random share of each pause, so that work that failed together is not retried together"""
_GATE_IDLE_S = 600.0
_JOBS_A_TASK = 8
"""jobs in one task, and so in one turn of the event loop if none waits"""
_GIVEN_UP_A_TURN = 100
_KNOWN_AT_ONCE = 8

log = structlog.get_logger(__name__)


class Dispatcher:
    """Bounded by what its partitions may read ahead."""

    def __init__(
        self,
        performer: Performer,
        clock: Clock,
        metrics: Metrics,
        normal_share: float,
        retries: Mapping[str, JobRetry] = MappingProxyType({}),
        tenants: TenantWork | None = None,
    ) -> None:
        """``retries`` by error code override attempts and pauses of the queue. ``tenants``: use of
        the pool; None: of this dispatcher alone."""
        self.performer = performer
        self.tenants = tenants or TenantWork(clock)
        self._retries = retries
        self.gates = Gates(max(4, performer.slots))
        self._clock = clock
        self._metrics = metrics
        self._wait_seconds = {lane: metrics.jobs.wait_seconds.labels(lane) for lane in LANES}
        self._run_seconds = metrics.jobs.run_seconds.observe
        self._finished_jobs = cache(metrics.jobs.finished.labels)
        self._queue: FairQueue[Work] = FairQueue(normal_share, _has_left)
        self._random = random.Random(clock.now_ms())
        # Dictionaries keep the order of insertion; sets of tasks would make simulations
        # irreproducible.
        self._running: dict[asyncio.Task[None], Work] = {}
        self._preparing: dict[asyncio.Task[None], tuple[Work, tuple[str, ...]]] = {}
        self._ahead = Ahead(performer)
        self._wanting: Counter[Lane] = Counter()
        """queued work that must be prepared"""
        self._known: deque[Work] = deque()
        """work with an outcome that waits for its request; it takes no slot"""
        self._looking = False
        self._room = QueueRoom(performer.queue, clock)
        self._pausing: dict[Work, None] = {}
        self.pool_changes: deque[ProcessChange] = deque(maxlen=CHANGES_MAX)
        """of the performer's slots, oldest first"""

    def submit(self, work: Work) -> None:
        """W1. Work that ended may be submitted again with a known outcome: it ends once its request
        is in memory."""
        work.since_s = self._clock.monotonic()
        work.lane, work.order = self._lane(work), -1
        if work.known is None:
            self._wait(work)
        else:
            work.stage = "waiting"
            self._known.append(work)
        self._look_soon()

    def cancel(self, work: Work) -> None:
        """Stop it in any stage, with the outcome "cancelled"."""
        if work.stage == "waiting":
            self._queue.dropped(work.lane)
            self._left_queue(work)
            self._unready(work)
        elif work.stage == "pausing":
            del self._pausing[work]
        else:
            self._end_tasks(lambda other: other is work)
        error = SimulationCancelled("the simulation was cancelled by a request of its tenant.")
        self._finish(work, refused(work, error, self._clock.now_ms()))

    def forget(self, owner: WorkOwner) -> None:
        """Stop all work of ``owner``, without an outcome."""
        self._stop(lambda work: work.owner is owner)

    async def run(self) -> None:
        while True:
            await self._clock.sleep(_TICK_S)
            now_s = self._clock.monotonic()
            for work in [work for work in self._pausing if work.due_s <= now_s]:
                del self._pausing[work]
                self._wait(work)
            self.gates.forget_idle(now_s, _GATE_IDLE_S)
            self._resize(sum(map(self._queue.length, LANES)))
            self._start_what_may()
            for lane in LANES:
                self._metrics.jobs.waiting.labels(lane).set(self._queue.length(lane))
            self._metrics.jobs.running.set(len(self._running))
            self._metrics.jobs.shut_needs.set(len(self.gates.shut))

    def _resize(self, waiting: int) -> None:
        before = self.performer.slots
        self.performer.told_waiting(waiting)
        if (after := self.performer.slots) != before:
            why = f"{waiting:,} jobs wait"
            self.pool_changes.append(
                ProcessChange(at_ms=self._clock.now_ms(), before=before, after=after, why=why)
            )

    async def close(self) -> None:
        self._stop(lambda work: True)
        await self.performer.close()

    # --- W1 ----------------------------------------------------------------------------------

    def _wait(self, work: Work) -> None:
        work.stage = "waiting"
        ask = work.ask
        queue = "\0".join((ask.queue, *work.needs)) if work.needs else ask.queue
        if work.ready:
            queue = READY
        work.order = self._queue.push(work.lane, ask.tenant, queue, work, work.order)
        if work.wanting:
            work.counted = True
            self._wanting[work.lane] += 1

    def _left_queue(self, work: Work) -> None:
        if work.counted:
            work.counted = False
            self._wanting[work.lane] -= 1

    def _lane(self, work: Work) -> Lane:
        priority = self._policy(work).priority
        if priority is None:
            priority = work.ask.priority
        return "high" if priority >= HIGH_PRIORITY else "normal"

    def _policy(self, work: Work) -> QueuePolicy:
        return self.performer.queue(work.ask.queue)

    def _look_soon(self) -> None:
        """Start work once for all submissions in this turn of the event loop."""
        if not self._looking:
            self._looking = True
            asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        self._looking = False
        self._start_what_may()

    def _retry_policy(self, work: Work, code: str) -> QueuePolicy:
        return self._policy(work).with_retry(self._retries.get(code))

    def _start_what_may(self) -> None:
        self._read_for_known()
        for lane in LANES:
            self._prepare_what_may(lane)
        while len(self._running) < self.performer.slots:
            work = self._next()
            if work is None:
                return
            task = asyncio.create_task(self._perform_some(work), name="jobs")
            self._running[task] = work
            # In a callback, since a task cancelled before its first step never runs.
            task.add_done_callback(self._ended)

    def _next(self) -> Work | None:
        work = self._queue.pop(self._may_run)
        if work is None:
            return None
        self._left_queue(work)
        now_s = self._clock.monotonic()
        if work.ready:
            self._ahead.leave(work)
        else:
            self._begin(work, now_s)
            work.left_s = self._policy(work).timeout_s
        if not work.started_ms:
            self._wait_seconds[work.lane].observe(now_s - work.since_s)
        work.started_ms = self._clock.now_ms()
        work.stage = "running"
        return work

    def _may_run(self, work: Work) -> bool:
        if work.ready:
            return True
        return not work.wanting and work.ask.queue in self._room

    def _begin(self, work: Work, now_s: float) -> None:
        """Count an attempt for its queue until `_attempt_over`."""
        self._room.begin(work.ask.queue, runs=work.known is None)
        work.begun_s = now_s

    def _attempt_over(self, work: Work) -> None:
        self._room.end(work.ask.queue)
        work.prepared, work.ready = None, False

    # --- W2 ----------------------------------------------------------------------------------

    def _prepare_what_may(self, lane: Lane) -> None:
        given_up = 0
        while self._wanting[lane] and self._ahead.lane_has_room(lane):
            work = self._queue.pop_ahead(lane, self._may_prepare)
            if work is None:
                return
            self._left_queue(work)
            spent, last = self.gates.spent(work)
            spent += work.failures
            if spent >= self._retry_policy(work, last.code).attempts:
                self._give_up(work, last.why, spent)
                given_up += 1
                if given_up == _GIVEN_UP_A_TURN:
                    self._look_soon()
                    return
                continue
            self._start_preparing(work)

    def _read_for_known(self) -> None:
        busy = sum(work.known is not None for work, _ in self._preparing.values())
        while self._known and busy < _KNOWN_AT_ONCE:
            if not self.gates.open(self._known[0].wanting, self._clock.monotonic()):
                return
            self._start_preparing(self._known.popleft())
            busy += 1

    def _start_preparing(self, work: Work) -> None:
        self._begin(work, self._clock.monotonic())
        self.gates.ask(work)
        self._ahead.enter(work)
        work.stage = "preparing"
        needs = work.wanting
        task = asyncio.create_task(self._prepare(work, needs), name="job-needs")
        self._preparing[task] = work, needs
        task.add_done_callback(self._prepared)

    def _may_prepare(self, work: Work) -> bool:
        wanting = work.wanting
        if not wanting or work.ask.queue not in self._room:
            return False
        return self._ahead.tenant_has_room(work) and self.gates.open(
            wanting, self._clock.monotonic()
        )

    async def _prepare(self, work: Work, needs: tuple[str, ...]) -> None:
        """Leave the work ready, ended, or to be retried. A cancellation is handled by
        `_prepared`."""
        outcome: Outcome | None = None
        failure: TransientError | None = None
        answered: tuple[str, ...] = ()
        try:
            await self._asked(work, needs)
            answered = needs
        except (JobRefused, BadRecord) as error:
            outcome = refused(work, error, self._clock.now_ms())
            answered = answered_before(needs, error)
        except TransientError as error:
            failure = error
        except Exception as error:
            log.exception("job_failed", queue=work.ask.queue)
            outcome = refused(work, error, self._clock.now_ms())
        self.gates.release(work, needs, answered)
        if failure is None and outcome is None and work.known is None:
            work.ready = True
            self._wait(work)
            return
        self._ahead.leave(work)
        self._attempt_over(work)
        if failure is not None:
            self._failed(work, failure)
        elif work.known is not None:
            self._finish(work, *work.known)
        elif outcome is not None:
            self._finish(work, outcome)

    async def _asked(self, work: Work, needs: tuple[str, ...]) -> None:
        """Load the request and prepare its needs. The time limit begins after the request is
        loaded: a slow log spends no attempt."""
        if work.event is None:
            work.event = await loaded(work)
        if work.known is not None:
            return
        limit_s = self._policy(work).timeout_s
        deadline = Deadline(self._clock, limit_s)
        try:
            work.prepared = await deadline.wait(self.performer.prepare(work.event))
        except DeadlinePassed as error:
            raise DependencyLate(
                f"a dependency of the simulation ({', '.join(needs)}) did not answer within its "
                f"limit of {limit_s:g} s"
            ) from error
        work.left_s = max(0.001, deadline.left_s)

    def _prepared(self, task: asyncio.Task[None]) -> None:
        work, needs = self._preparing.pop(task)
        if task.cancelled():
            self.gates.release(work, needs, ())
            self._ahead.leave(work)
            self._attempt_over(work)
        elif (error := task.exception()) is not None:
            log.error("job_failed", queue=work.ask.queue, why=repr(error))
        self._start_what_may()

    def _unready(self, work: Work) -> None:
        if work.ready:
            self._ahead.leave(work)
            self._attempt_over(work)

    # --- W3 ----------------------------------------------------------------------------------

    def _ended(self, task: asyncio.Task[None]) -> None:
        work = self._running.pop(task, None)
        if task.cancelled():
            if work is not None:
                self._attempt_over(work)
        elif (error := task.exception()) is not None:
            queue = work.ask.queue if work is not None else ""
            log.error("job_failed", queue=queue, why=repr(error))
        self._start_what_may()

    async def _perform_some(self, work: Work) -> None:
        """One task runs several jobs: a task for each would cost as much as a short job. Nothing is
        awaited between two jobs, so a cancellation hits the job that runs."""
        task = asyncio.current_task()
        assert task is not None
        for _ in range(_JOBS_A_TASK - 1):
            await self._perform(work)
            del self._running[task]
            following = self._next()
            if following is None:
                return
            work = self._running[task] = following
        await self._perform(work)

    async def _perform(self, work: Work) -> None:
        """A cancellation is handled by `_ended`."""
        began_s = self._clock.monotonic()
        outcome: Outcome | None = None
        failure: TransientError | None = None
        try:
            if not work.ready:
                work.prepared = await self.performer.prepare(work.event)
            summary = await self.performer.perform(work.event, work.prepared, work.left_s)
            now_ms = self._clock.now_ms()
            outcome = Outcome("completed", summary, "", "", work.started_ms, now_ms)
        except TransientError as error:
            failure = error
        except (JobRefused, BadRecord) as error:
            outcome = refused(work, error, self._clock.now_ms())
        except Exception as error:
            log.exception("job_failed", queue=work.ask.queue)
            outcome = refused(work, error, self._clock.now_ms())
        self._attempt_over(work)
        ran_s = self._clock.monotonic() - began_s
        self._run_seconds(ran_s)
        self.tenants.ended(work.ask.tenant, ran_s)
        if outcome is not None:
            self._finish(work, outcome)
        elif failure is not None:
            self._failed(work, failure)

    # --- W4 ----------------------------------------------------------------------------------

    def _failed(self, work: Work, error: TransientError) -> None:
        if work.stage == "ended":
            return
        self._metrics.jobs.failures.labels(error.code).inc()
        policy, now_s = self._retry_policy(work, error.code), self._clock.monotonic()
        spends, need = error.disposition is not Disposition.PAUSE, error.need
        failures = self.gates.rounds(need, work) + 1 if need else work.failures + 1
        pause_s = policy.pause_s(failures) if spends else HOLD_S
        pause_s *= self._random.uniform(1 - JITTER, 1 + JITTER)
        if need:
            said = Said(error.code, f"last error {error.code}: {error}")
            self.gates.failed(need, work, now_s, pause_s, spends=spends, said=said)
            spent = self.gates.rounds(need, work) + work.failures
        else:
            work.failures += spends
            spent = work.failures
        if spends and spent >= policy.attempts:
            self._give_up(work, f"last error {error.code}: {error}", spent)
            return
        log.info("job_retried", queue=work.ask.queue, code=error.code, failures=spent, need=need)
        if work.known is not None:
            work.stage = "waiting"
            self._known.append(work)
        elif need:
            self._wait(work)  # its gate decides when
        else:
            work.stage, work.due_s = "pausing", now_s + pause_s
            self._pausing[work] = None

    def _give_up(self, work: Work, why: str, attempts: int) -> None:
        message = f"given up after {attempts} attempts; {why}"
        self._metrics.jobs.given_up.inc()
        error = RetriesExhausted(message, attempts)
        outcome = refused(work, error, self._clock.now_ms())
        self._finish(work, outcome, GivenUp(attempts, message))

    def _finish(self, work: Work, outcome: Outcome, given_up: GivenUp | None = None) -> None:
        if work.stage == "ended":
            return
        work.stage = "ended"
        if work.known is None:
            self._finished_jobs(outcome.status).inc()
        work.owner.done(work, outcome, given_up)

    def _stop(self, unwanted: Callable[[Work], bool]) -> None:
        for work in self._queue.remove(unwanted):
            self._left_queue(work)
            self._unready(work)
            work.stage = "ended"
        self._pausing = {work: None for work in self._pausing if not unwanted(work)}
        self._known = deque(work for work in self._known if not unwanted(work))
        for work in self._end_tasks(unwanted):
            work.stage = "ended"

    def _end_tasks(self, unwanted: Callable[[Work], bool]) -> list[Work]:
        tasks = {task: work for task, (work, _) in self._preparing.items()} | self._running
        ended = {task: work for task, work in tasks.items() if unwanted(work)}
        for task in ended:
            task.cancel()
        return list(ended.values())


def _has_left(work: Work, place: int) -> bool:
    """Whether the work left this place: cancelled work may be queued again elsewhere."""
    return work.stage == "ended" or work.order != place
