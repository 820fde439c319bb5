"""One plan in one partition: P4, second half, to P8 (run/run.py)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from streams.core.clock import Clock
from streams.core.command_errors import AnotherPlan
from streams.core.errors import PartitionRestart, TransientError
from streams.core.rows.built_in_tables import ShardSet
from streams.core.settings import Settings
from streams.core.topics.topic import Topic
from streams.core.topics.topology import Topology
from streams.core.types import Broker
from streams.operate.dlq.dead_letter import DeadLetterRecord
from streams.operate.dlq.scan import OffsetSpan, scan
from streams.operate.replay.journal.control import say_shown
from streams.operate.replay.journal.dispositions import ReplayDisposition
from streams.operate.replay.journal.journal import RunBegun, RunEnded
from streams.operate.replay.journal.owner import QueueOwner, owned
from streams.operate.replay.journal.ranges import OffsetSet
from streams.operate.replay.journal.status import PartitionStatus, PlanStatus
from streams.operate.replay.plan.assess import Assessor
from streams.operate.replay.plan.plan import ReplayPlan, Selection
from streams.operate.replay.run.disposition_publisher import DispositionPublisher
from streams.operate.replay.run.pace import ReplayPace
from streams.operate.replay.run.row_return import RowReturn
from streams.operate.replay.run.step import FailedDeadLetter, Stepper, steps

_GAP = 5000
_ATTEMPTS = 6
_PAUSE_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    """``run`` is unique to the process; ``rate`` in dead letters a second, None for full speed;
    ``seen`` receives the number of dead letters of each step."""

    broker: Broker
    shards: ShardSet | None
    clock: Clock
    settings: Settings
    topology: Topology
    actor: str
    run: str
    rate: float | None = None
    seen: Callable[[int], None] = field(default=lambda count: None)


def refuse_another(standing: PartitionStatus, plan: str) -> None:
    """Raises `AnotherPlan` while another plan runs or waits in the partition."""
    other = standing.active
    if other is not None and other.plan != plan:
        raise AnotherPlan(
            other.plan,
            f"plan {other.plan} of {other.actor} is {other.state} in {standing.journal}, and one "
            f"plan at a time may replay a topic. Wait for it, go on with it "
            f"(`dia replay resume {other.plan}`) or give it up (`dia replay cancel {other.plan}`).",
        )


class PartitionRun:
    """One plan in one partition, until it is done or another process takes over."""

    def __init__(
        self,
        means: RunContext,
        plan: ReplayPlan,
        selection: Selection,
        origin: Topic,
        partitions: Mapping[str, int],
        pace: ReplayPace,
        *,
        resume: bool,
    ) -> None:
        self._means = means
        self._plan = plan
        self._selection = selection
        self._origin = origin
        self._partitions = partitions
        self._pace = pace
        self._resume = resume
        self._begun = False
        self._reached = -1

    async def go(self) -> tuple[PlanStatus, bool]:
        """The plan's status here at the end, and whether ClickHouse has all its rows."""
        failures = 0
        while True:
            try:
                return await self._attempt()
            except (PartitionRestart, TransientError):
                failures += 1
                if failures == _ATTEMPTS:
                    raise
            reached = self._reached
            await self._means.clock.sleep(_PAUSE_S * failures)
            if self._reached > reached:
                failures = 0

    async def _attempt(self) -> tuple[PlanStatus, bool]:
        means, number = self._means, self._selection.partition
        async with owned(means.broker, means.clock, means.topology, self._origin, number) as owner:
            standing = owner.standing.plans.get(self._plan.id)
            if standing is not None and self._is_over(standing):
                return standing, not owner.standing.arrears
            refuse_another(owner.standing, self._plan.id)
            await self._begin(owner)
            showing = DispositionPublisher(means.shards, owner, means.clock)
            rows = RowReturn(means.shards, means.topology.targets, means.settings)
            other = await means.broker.reader()
            try:
                await showing.catch_up()
                assessor = Assessor(self._plan.terms, means.settings, means.topology, other)
                await self._steps(owner, showing, assessor, rows)
                await showing.finish()
                await say_shown(owner, showing, means.clock, means.actor)
            finally:
                await showing.abandon()
                await rows.close()
                await other.close()
            return owner.standing.plans[self._plan.id], not showing.behind

    def _is_over(self, standing: PlanStatus) -> bool:
        if standing.over:
            return True
        if not self._begun:
            return standing.state == "paused" and not self._resume
        return standing.state == "paused" or standing.run != self._means.run

    async def _begin(self, owner: QueueOwner) -> None:
        """P4, second half."""
        standing = owner.standing.plans.get(self._plan.id)
        if standing is not None and standing.run == self._means.run:
            self._begun = True
            return
        means = self._means
        begun = RunBegun(
            at_ms=means.clock.now_ms(), actor=means.actor, plan=self._plan.id, run=means.run
        )
        await owner.commit([begun])
        self._begun = True

    async def _steps(
        self, owner: QueueOwner, showing: DispositionPublisher, assessor: Assessor, rows: RowReturn
    ) -> None:
        means = self._means
        stepper = Stepper(
            self._plan, means.run, means.actor, owner, assessor, showing, rows,
            means.clock, self._partitions, means.seen,
        )  # fmt: skip
        standing = owner.standing.plans[self._plan.id]
        wanted = _union(standing.to_replay, standing.to_park)
        spans = [OffsetSpan(owner.dlq, *ends) for ends in wanted.spans(standing.reached, _GAP)]
        outcome, reason = "finished", ""
        try:
            async for page in scan(owner.reader, spans, means.topology):
                for step in steps(_undecided(page, wanted, owner), self._pace.step):
                    await self._pace.take(len(step))
                    await stepper.take(step)
                    self._reached = standing.reached
        except FailedDeadLetter as failed:
            outcome, reason = "stopped", str(failed)
        ended = RunEnded(
            at_ms=means.clock.now_ms(),
            actor=means.actor,
            plan=self._plan.id,
            run=means.run,
            outcome=outcome,
            reason=reason,
        )
        await owner.commit([ended])  # P8


def _undecided(
    page: Sequence[DeadLetterRecord], wanted: OffsetSet, owner: QueueOwner
) -> list[DeadLetterRecord]:
    offsets = np.array([letter.offset for letter in page], np.int64)
    open_ones = owner.standing.dispositions.codes(offsets) == ReplayDisposition.OPEN
    chosen = wanted.mask(offsets) & open_ones
    return [page[index] for index in np.flatnonzero(chosen).tolist()]


def _union(one: OffsetSet, other: OffsetSet) -> OffsetSet:
    if not other:
        return one
    return OffsetSet.of(np.sort(np.concatenate([one.offsets(), other.offsets()])))
