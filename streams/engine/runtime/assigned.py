"""One task for each assigned partition: open it (A1 to A5), commit it when due, drop it on doubt.

fencing -> restoring -> ready -> (a commit in doubt) -> fencing -> ...
                  \\-> stopped, until an operator decides
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Literal

import structlog

from streams.core.clock import Clock
from streams.core.errors import (
    BatchUnreadable,
    DiaError,
    PartitionRestart,
    PartitionStopped,
    Pending,
    SchemaPending,
    TransientError,
    WorkerStopped,
)
from streams.core.resilience.deadline import Deadline, DeadlinePassed
from streams.core.settings import Settings
from streams.core.telemetry.metrics import Metrics
from streams.core.types import GroupConsumer, RecordBatch, TopicPartition, TransactionalProducer
from streams.core.wake_signal import WakeSignal
from streams.engine.agents.job_agent import Agent, JobAgent
from streams.engine.runtime.assignment import Opener
from streams.engine.runtime.commit.commit import commit
from streams.engine.runtime.commit.handover import Handover
from streams.engine.runtime.offsets.shed_order import ShedOrder
from streams.engine.runtime.partition import obstacle, task_end, unexpected
from streams.engine.runtime.partition.meters import PartitionMeters
from streams.engine.runtime.partition.partition import Partition
from streams.engine.runtime.partition.position_watch import PositionWatch
from streams.engine.runtime.partition.pressure import Pressure
from streams.engine.runtime.partition.schema_wait import SchemaWait, obtained
from streams.engine.runtime.poison.poison_register import PoisonRegister
from streams.engine.runtime.restore.source_watch import SourceWatch
from streams.engine.runtime.restore.trim import ChangelogTrim

Phase = Literal["fencing", "restoring", "ready", "stopped"]

_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 10.0

log = structlog.get_logger(__name__)


class AssignedPartition:
    """All methods run in the thread of the event loop."""

    def __init__(
        self,
        tp: TopicPartition,
        agent: Agent,
        *,
        opener: Opener,
        handover: Handover,
        consumer: GroupConsumer,
        clock: Clock,
        settings: Settings,
        metrics: Metrics,
    ) -> None:
        self.tp = tp
        self.phase: Phase = "fencing"
        self._opening_waits_for = ""
        self._schemas = SchemaWait(tp, clock)
        self.partition: Partition | None = None
        self.opening = False
        self.stopped_by: DiaError | None = None
        self._meters = PartitionMeters(metrics, tp, clock)
        self._agent = agent
        self._opener = opener
        self._handover = handover
        self._consumer = consumer
        self._clock = clock
        self._settings = settings
        jobs = isinstance(agent, JobAgent)
        self._interval_s = settings.job_commit_interval_s if jobs else settings.commit_interval_s
        self._metrics = metrics
        self._producer: TransactionalProducer | None = None
        self._suspended = False
        self._failure: DiaError | None = None
        self._obstacle: obstacle.Obstacle | None = None
        self._source = SourceWatch(clock)
        self._ends_worker: WorkerStopped | None = None
        self._wake = WakeSignal(clock)
        self._committing = asyncio.Lock()
        self._committed_once = self._in_doubt = False
        self._watch = PositionWatch(tp, consumer, clock, settings.idle_close_s)
        self._pressure = Pressure()
        self._register = PoisonRegister(
            opener.broker, agent.group, clock, settings.commit_timeout_s
        )
        self._trim = ChangelogTrim(opener.broker, settings.trim_commits)
        self._trail = handover.tracer.partition(tp, agent.group)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name=f"partition-{self.tp}")

    # --- records -----------------------------------------------------------------------------

    @property
    def taking(self) -> bool:
        return self.sheds and not self._schemas.held

    @property
    def sheds(self) -> bool:
        """Whether `shed` has an effect."""
        held = self._suspended or self._obstacle is not None or self._source.held is not None
        return self.phase == "ready" and not held and self._failure is None

    def shed(self, order: ShedOrder) -> None:
        """X4. The schemas of records that are skipped are not waited for."""
        if (partition := self.partition) is not None and self.sheds:
            before = partition.position
            partition.shed(order)
            if partition.position != before:
                self._schemas.give_up()

    def fold(self, batch: RecordBatch) -> None:
        """C1 if the batch continues the fold offset; otherwise seek back to it."""
        partition = self.partition
        if partition is None or not self.taking:
            return
        if batch.start != partition.position:
            self._consumer.seek(self.tp, partition.position)
            return
        if self._source.suspects(batch):
            self._consumer.pause(self.tp)
            self._wake.notify()
        else:
            self._fold(partition, batch)

    def _fold(self, partition: Partition, batch: RecordBatch) -> None:
        self._source.folding(batch)
        partition.placement.grown_to(self._consumer.partitions(self.tp.topic))
        if not batch.append_times and len(batch):
            self._meet(partition, batch.offsets[0], obstacle.producers_times(batch))
            batch = RecordBatch(batch.tp, batch.start, batch.offsets[0])
        self._watch.arrived(batch)
        try:
            with self._trail.folding(batch):
                partition.fold(batch)
        except SchemaPending as pending:
            self._consumer.pause(self.tp)
            self._obstacle = None  # behind this list, which is fetched again
            self._schemas.begin(pending)
            return
        except (Pending, PartitionStopped, PartitionRestart) as error:
            self._fail(error)
        except Exception as error:
            log.exception("agent_failed", tp=str(self.tp), offset=batch.start)
            self._fail(unexpected.of_agent(self._agent.name, batch, error))
        if partition.position != batch.end:
            self._consumer.seek(self.tp, partition.position)
        if len(batch):
            self._source.folded(batch, partition.reached.last_offset)
            self._watch.reset_idle()
        if self._failure is None:
            self._pressure.relieve(partition, self._consumer, held=self._handover.intake_held)
        # Commit immediately after opening, to minimise visible downtime.
        if not self._committed_once or partition.folded >= self._settings.commit_max_records:
            self._wake.notify()

    def tick(self) -> None:
        """Check idleness and pressure, and update metrics. Called several times a second.

        Raises the `WorkerStopped` error that ended the partition's task.
        """
        if self._ends_worker is not None:
            raise self._ends_worker
        if self.partition is not None and self._failure is None:
            try:
                self._check(self.partition)
            except Exception as error:  # a bug costs this partition, not the worker
                log.exception("engine_failed", tp=str(self.tp))
                self._fail(unexpected.of_engine(self.tp, error))

    def _check(self, partition: Partition) -> None:
        self._read_on(partition)
        if self.taking:
            self._look_at(partition)
        elif self._obstacle is not None and partition.failure is not None:
            self._fail(partition.failure)
        if (meters := self._meters).due:
            meters.gauge(partition, self.lag, self.behind_s, self.held_back_s, self.clock_ahead_s)

    def _read_on(self, partition: Partition) -> None:
        """Y3."""
        if not self._schemas.over():
            return
        self._consumer.seek(self.tp, partition.position)
        if self.taking and not self._pressure.paused:
            self._consumer.resume(self.tp)

    @property
    def waits_for(self) -> str:
        """What the partition waits for; "" if nothing."""
        agent_waits_for = self.partition.waits_for if self.partition is not None else ""
        return self._opening_waits_for or self._schemas.waits_for or agent_waits_for

    def _look_at(self, partition: Partition) -> None:
        self._watch.observe(partition)
        if partition.failure is not None:
            self._fail(partition.failure)
        self._pressure.relieve(partition, self._consumer, held=self._handover.intake_held)

    def unreadable(self, error: BatchUnreadable) -> None:
        """The consumer cannot open the batch: O1 if it is the next one to fold."""
        partition = self.partition
        if partition is None or not self.taking:
            return
        if error.offset != partition.position:
            self._consumer.seek(self.tp, partition.position)
            return
        self._meet(partition, error.offset, error)

    def _meet(self, partition: Partition, offset: int, error: PartitionStopped) -> None:
        """O1: fold nothing from ``offset`` on."""
        log.error("unreadable_record_reached", tp=str(self.tp), code=error.code, why=str(error))
        self._obstacle = obstacle.Obstacle(offset, partition.state.link.epoch, error)
        self._consumer.pause(self.tp)
        self._wake.notify()

    def lost_position(self) -> None:
        """The log no longer holds the consumer's position: reopen the partition, so that A4 checks
        it."""
        if self.taking:
            why = f"the log of {self.tp} no longer holds the consumer's position"
            self._fail(PartitionRestart(why))

    @property
    def paused(self) -> bool:
        return self._pressure.paused

    @property
    def held_back_s(self) -> float:
        """Seconds for which an open transaction holds back records."""
        return self._watch.held_back_s

    @property
    def clock_ahead_s(self) -> float | None:
        """Seconds by which the worker's clock is ahead of the broker's; None: unknown."""
        return self._watch.clock_ahead_s

    @property
    def next_offset(self) -> int | None:
        """The committed offset; None while the partition is not open or has no commit."""
        link = self.partition.state.link if self.partition is not None else None
        return link.next_offset if link is not None and link.seq else None

    @property
    def lag(self) -> int | None:
        """Last stable offset minus committed offset; None: unknown."""
        seen = self._consumer.watermarks(self.tp)
        if self.partition is None or seen is None:
            return None
        return max(0, seen.last_stable_offset - self.partition.state.link.next_offset)

    @property
    def behind_s(self) -> float:
        """Seconds since the oldest record was appended that is read and not done, else since the one that was
        read last, while others are unread. Event times are no measure: those of late producers are old."""
        partition, seen = self.partition, self._consumer.watermarks(self.tp)
        if partition is None:
            return 0.0
        since_ms = partition.waits_since_ms
        if not (since_ms or isinstance(self._agent, JobAgent)):
            unread = seen is not None and seen.last_stable_offset > partition.position
            since_ms = partition.reached.last_append_ms if unread else 0
        return max(0.0, (self._clock.now_ms() - since_ms) / 1000) if since_ms else 0.0

    @property
    def settled(self) -> bool:
        """Whether everything is read, committed and acknowledged. False while the partition is
        paused, revoked, without an answer of the broker, or behind an open transaction: its lag is
        unknown then."""
        ready = self.partition if self.taking and not self.paused else None
        return ready is not None and self.read_all and self.lag == 0 and ready.settled

    @property
    def read_all(self) -> bool:
        """Whether a recent answer shows no record to read and no open transaction."""
        return self._watch.read_all

    # --- assignment --------------------------------------------------------------------------

    async def suspend(self, deadline: Deadline) -> None:
        """Revoked: stop folding and wait for the open commit until the deadline, then close."""
        self._suspended = True
        try:
            await deadline.wait(self._committing.acquire())
        except DeadlinePassed:
            await self.close()
            return
        self._committing.release()

    def keep(self) -> None:
        """Assigned again: continue with the memory at hand. If another process owned the partition
        in between, the next commit is fenced."""
        self._suspended = False
        self._source.rebalanced()
        self._watch.reset_idle()
        if self.phase == "ready" and self.partition is not None:
            self._consumer.seek(self.tp, self.partition.position)
            # A new assignment starts unpaused. The consumer raises an error once per seek: while a
            # list is held back it would be missed, and reading would not resume.
            if self._pressure.paused or not self.taking:
                self._consumer.pause(self.tp)
        else:
            self._consumer.pause(self.tp)
            self._consumer.seek(self.tp, 0)

    @property
    def open(self) -> bool:
        """Whether the task runs, so the partition can be kept."""
        return self._task is not None and not self._task.done()

    async def close(self) -> None:
        """Revoked or lost: end the task, drop producer, store and memory. Raises `PartitionStuck`."""
        task, self._task = self._task, None
        if task is not None:
            await task_end.end(task, self.tp, self._clock)
        await self._drop()
        self._meters.forget()

    async def drain(self) -> None:
        self._suspended = True
        async with self._committing:
            partition = self.partition
            if partition is None or self.phase != "ready" or self._failure or self._in_doubt:
                return
            if partition.has_changes():
                await self._commit(partition)

    # --- the task ----------------------------------------------------------------------------

    async def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            self._committed_once = False
            try:
                await self._open()
                await self._commit_when_due()
            except PartitionStopped as error:
                met = self._obstacle
                await self._stop(error)
                if met is not None and met.error is error:
                    broker, group = self._opener.broker, self._agent.group
                    await obstacle.gone(broker, group, self.tp, self._clock, met)  # O4
                elif not await self._register.let_through(self.tp, error):
                    return
            except (PartitionRestart, TransientError) as error:
                self._metrics.commit.failures.labels(error.code).inc()
                self._failure, self._opening_waits_for = error, f"{error.code}: {error}"
                log.warning("partition_restarts", tp=str(self.tp), code=error.code, why=str(error))
            except WorkerStopped as error:
                await self._drop()
                self._ends_worker = error
                return
            except Exception as error:
                log.exception("engine_failed", tp=str(self.tp))
                await self._stop(unexpected.of_engine(self.tp, error))
                return
            await self._drop()
            pause_s = _FIRST_PAUSE_S if self._committed_once else min(2 * pause_s, _LONGEST_PAUSE_S)
            await self._clock.sleep(pause_s)

    async def _open(self) -> None:
        if isinstance(self._failure, Pending):
            await obtained(self._failure, self._clock, self.tp, self._schemas)
        self._failure = self.stopped_by = self._obstacle = None
        self._in_doubt = False
        self._source.opening()
        self._enter("fencing")
        self._consumer.pause(self.tp)
        began = self._clock.monotonic()
        self.opening = True
        try:
            enter = partial(self._enter, "restoring")
            opened = await self._opener.open(self._agent, self.tp, fenced=enter)
        finally:
            self.opening = False
        self.partition, self._producer = opened.partition, opened.producer
        self._trim = ChangelogTrim(self._opener.broker, self._settings.trim_commits)
        last_offset = opened.partition.state.link.last_offset
        self._source.opened(last_offset, opened.leader_epoch, began)
        self._handover.repeat(opened.partition)  # A5
        took_s = self._clock.monotonic() - began
        self._meters.opened(opened.partition, took_s, opened.restored_records)
        self._opening_waits_for = ""
        self._enter("ready")
        log.info(
            "partition_ready", tp=str(self.tp), next_offset=opened.partition.position,
            restored_records=opened.restored_records, seconds=round(took_s, 3),
        )  # fmt: skip
        self._pressure = Pressure()
        if not self._suspended:
            self._consumer.seek(self.tp, opened.partition.position)
            self._consumer.resume(self.tp)

    async def _commit_when_due(self) -> None:
        """Commit at every interval, earlier when many records are folded; returns only by raising."""
        while True:
            due_s = self._clock.monotonic() + self._interval_s
            async with self._committing:
                if self._failure is not None:
                    await self._register.tell(self.tp, self._failure, self._producer)
                    raise self._failure
                if not self._suspended and self.partition is not None:
                    await self._compare(self.partition)
                    if self._failure is None:  # else a list that was compared is folded in part
                        await self._commit_or_emit(self.partition)
                        self._stop_at_obstacle(self.partition)
            await self._wake.wait(due_s)

    async def _compare(self, partition: Partition) -> None:
        """Fold the suspected list if the log still holds the last folded record.

        Raises `TopicRecreated` and `SourceTruncated`; uncommitted work is dropped then.
        """
        if (batch := self._source.held) is None:
            return
        epoch = self._source.epoch_at(partition.reached.last_offset)
        await self._opener.compare(partition, epoch)
        self._source.compared()
        if batch.start == partition.position and self._failure is None:
            self._fold(partition, batch)
        held = self._obstacle is not None or self._schemas.held or self._pressure.paused
        if not held:
            self._consumer.resume(self.tp)

    def _stop_at_obstacle(self, partition: Partition) -> None:
        """O2. Raises the obstacle's error."""
        met = self._obstacle
        if met is not None and partition.state.link.next_offset == met.offset == partition.position:
            raise met.error

    async def _commit_or_emit(self, partition: Partition) -> None:
        seen = self._consumer.watermarks(self.tp)
        partition.backlog.observe(self._clock.monotonic(), partition.position, seen)
        if partition.has_changes():
            await self._commit(partition)
        else:
            # Nothing uncommitted is folded, so the rows are committed state.
            due = partition.take_emissions(self._handover.room(), self._handover.spared())
            self._handover.emit(partition, due, self._trail)

    async def _commit(self, partition: Partition) -> None:
        assert self._producer is not None
        # If the task is cancelled during the commit (partition lost while draining), the
        # transaction may still be open: no second commit may begin.
        assert not self._in_doubt
        self._in_doubt = True
        prepared = partition.prepare(self._handover.room(), self._handover.spared())
        clock, metrics, timeout_s = self._clock, self._metrics, self._settings.commit_timeout_s
        with self._trail.committing(partition.settles) as span:
            self._meters.preparing(partition, prepared)
            await commit(partition, prepared, self._producer, clock, metrics, timeout_s, span)
            self._meters.committed()
            self._handover.committed(partition, prepared, self._trail, span.origins)  # C5
        self._in_doubt = False
        self._committed_once = True
        await self._trim.after(partition.state)

    def _fail(self, error: DiaError) -> None:
        """Reopen or stop the partition once no commit is in progress."""
        self._failure = error
        self._wake.notify()

    async def _stop(self, error: PartitionStopped) -> None:
        self.stopped_by = error
        await self._drop()
        self._enter("stopped", error.code)
        log.error("partition_stopped", tp=str(self.tp), code=error.code, why=str(error))

    async def _drop(self) -> None:
        self._consumer.pause(self.tp)
        self._enter("fencing")
        partition, self.partition = self.partition, None
        producer, self._producer = self._producer, None
        self._trail.forget()
        self._schemas.end()
        if partition is not None:
            self._handover.forget(partition)
            partition.abandon()
            partition.state.store.close()
        if producer is not None:
            await producer.close()

    def _enter(self, phase: Phase, code: str = "") -> None:
        self.phase = phase
        self._meters.enter(phase, code)
