"""Runs a plan (docs/protocols/replay.md).

P1  check the plan: complete, of this cluster, its topics exist
P2  start the partition's replay producer, which fences an earlier run    (journal/owner.py)
P3  read the journal: decisions, and the progress of this plan            (journal/status.py)
P4  enter the plan in every partition, then begin the run in each
P5  assess and repair the next undecided dead letters of the plan         (plan/assess.py)
P6  one transaction: replayed records, parked copies, the journal entry   (step.py)
P7  insert the dispositions into ClickHouse, in parallel to the next step (disposition_publisher.py)
P8  no dead letter left: the plan is finished in this partition

After any doubt in P2 to P6 the run starts again at P2: the journal has the outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from streams.connect.broker.opened import opened
from streams.core.errors import RefusedBySafety
from streams.core.topics.topic import Topic
from streams.core.topics.topology import Topology
from streams.core.types import Broker
from streams.operate.replay.journal.control import standings
from streams.operate.replay.journal.dead_letter_mark import check_mark
from streams.operate.replay.journal.journal import RANGES_PER_ENTRY, PlanEntered
from streams.operate.replay.journal.owner import owned
from streams.operate.replay.journal.status import PartitionStatus, PlanStatus
from streams.operate.replay.plan.plan import ReplayPlan, Selection
from streams.operate.replay.plan.planner import look, same_cluster
from streams.operate.replay.plan.repair import Repair
from streams.operate.replay.run.pace import ReplayPace, share
from streams.operate.replay.run.partition_run import PartitionRun, RunContext, refuse_another


@dataclass(slots=True)
class RunResult:
    """The plan after this run, over all partitions; counts include earlier runs of it. ``shown``:
    ClickHouse has every disposition."""

    planned: int = 0
    replayed: int = 0
    parked: int = 0
    left: int = 0
    elsewhere: int = 0
    """planned dead letters decided otherwise meanwhile"""
    states: set[str] = field(default_factory=set)
    reasons: list[str] = field(default_factory=list)
    shown: bool = True

    @property
    def finished(self) -> bool:
        return self.states <= {"finished"}

    def add(self, standing: PlanStatus, *, shown: bool) -> None:
        self.planned += standing.letters
        self.replayed += standing.replayed
        self.parked += standing.parked
        self.left += standing.left
        if standing.state == "finished":
            done = standing.replayed + standing.parked + standing.left
            self.elsewhere += standing.letters - done
        self.states.add(standing.state)
        if standing.reason and standing.reason not in self.reasons:
            self.reasons.append(standing.reason)
        self.shown = self.shown and shown


async def check_plan(
    broker: Broker, topology: Topology, plan: ReplayPlan
) -> tuple[Topic, Mapping[str, int]]:
    """P1. Raises `RefusedBySafety` for a plan of another cluster, of undeclared or deleted topics,
    or with a changed transform, and `UsageError` when the transform cannot be loaded."""
    try:
        origin = topology.topic(plan.source)
        target = topology.topic(plan.terms.target) if plan.terms.target is not None else None
    except KeyError as error:
        raise RefusedBySafety(f"plan {plan.id} cannot run here: {error.args[0]}.") from None
    cluster_id, partitions = await look(broker, origin, target.name if target else None)
    same_cluster(plan, cluster_id)
    for selection in plan.selections:
        if selection.partition >= partitions[origin.dlq]:
            raise RefusedBySafety(
                f"plan {plan.id} names partition {selection.partition} of {origin.dlq}, which has "
                f"{partitions[origin.dlq]} now: the topic was made anew. Make another plan."
            )
    Repair(plan.terms)
    return origin, partitions


async def refuse_beside_another(
    broker: Broker, plan: ReplayPlan, origin: Topic, partitions: int
) -> list[PartitionStatus]:
    """Returns the status of each partition. Raises `RefusedBySafety` while another plan holds one
    of them."""
    async with opened(broker.reader()) as reader:
        known = await standings(reader, origin, partitions)
    for standing in known:
        refuse_another(standing, plan.id)
    return known


async def run_plan(means: RunContext, plan: ReplayPlan, *, resume: bool) -> RunResult:
    """P1 to P8 in every partition, in parallel. ``resume``: continue a paused plan.

    Raises as `check_plan`, and `RefusedBySafety` for a paused or cancelled plan, or beside another
    one; then nothing started. Raises `PartitionRestart` and `TransientError` kinds while the broker
    is unavailable: `dia replay resume` continues."""
    origin, partitions = await check_plan(means.broker, means.topology, plan)
    known = await refuse_beside_another(means.broker, plan, origin, partitions[origin.dlq])
    for standing in known:
        _refuse_stopped(standing.plans.get(plan.id), resume=resume)
    await enter(means, plan, origin, known)
    pace = ReplayPace(means.clock, means.rate)
    runs = [
        PartitionRun(means, plan, selection, origin, partitions, pace, resume=resume)
        for selection in plan.selections
    ]
    result = RunResult()
    outcomes = await asyncio.gather(*(run.go() for run in runs), return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
        result.add(outcome[0], shown=outcome[1])
    return result


async def submit(means: RunContext, plan: ReplayPlan) -> None:
    """P1, then enter the plan for a worker, at the rate of ``means``. Raises as `run_plan`, and
    `RefusedBySafety` for a plan entered before."""
    origin, partitions = await check_plan(means.broker, means.topology, plan)
    known = await refuse_beside_another(means.broker, plan, origin, partitions[origin.dlq])
    if any(plan.id in standing.plans for standing in known):
        raise RefusedBySafety(
            f"plan {plan.id} was entered before. `dia replay status {plan.id}` says how it stands."
        )
    await enter(means, plan, origin, known, by_agent=True)


async def enter(
    means: RunContext,
    plan: ReplayPlan,
    origin: Topic,
    known: Sequence[PartitionStatus],
    *,
    by_agent: bool = False,
) -> None:
    """P4, first half: enter the plan in every journal before it begins in any, so that its id
    suffices to resume it. Raises `RefusedBySafety` when another plan was entered meanwhile."""
    for selection in plan.selections:
        if plan.id in known[selection.partition].plans:
            continue
        async with owned(
            means.broker, means.clock, means.topology, origin, selection.partition
        ) as owner:
            if plan.id in owner.standing.plans:
                continue
            refuse_another(owner.standing, plan.id)
            await check_mark(owner.reader, owner.dlq, selection.mark)
            await owner.commit(_entering(means, plan, selection, by_agent=by_agent))


def _refuse_stopped(standing: PlanStatus | None, *, resume: bool) -> None:
    if standing is None:
        return
    if standing.state == "cancelled":
        raise RefusedBySafety(
            f"plan {standing.plan} was cancelled by {standing.actor}. Make another one: "
            f"`dia replay plan`; what it replayed already is not replayed again."
        )
    if standing.state == "paused" and not resume:
        raise RefusedBySafety(
            f"plan {standing.plan} was paused by {standing.actor}. To go on: "
            f"`dia replay resume {standing.plan}`."
        )


def _entering(
    means: RunContext, plan: ReplayPlan, selection: Selection, *, by_agent: bool
) -> list[PlanEntered]:
    replay = list(selection.to_replay.pieces(RANGES_PER_ENTRY))
    park = list(selection.to_park.pieces(RANGES_PER_ENTRY))
    parts = len(replay) + len(park) - 1
    at_ms = means.clock.now_ms()
    rate = share(means.rate, selection.letters, plan.letters) if by_agent else None
    # The last piece of one set and the first of the other share an entry.
    return [
        PlanEntered(
            at_ms=at_ms,
            actor=means.actor,
            plan=plan.id,
            head=plan.head() if part == 0 else None,
            end=selection.end,
            replay=str(replay[part]) if part < len(replay) else "",
            park=str(park[part - len(replay) + 1]) if part >= len(replay) - 1 else "",
            part=part,
            parts=parts,
            by_agent=by_agent,
            rate=rate,
            mark=selection.mark,
        )
        for part in range(parts)
    ]
