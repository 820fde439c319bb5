"""The status of one DLQ partition from its journal: dispositions, plans, and rows to insert."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from streams.connect.broker.log_range import behind, read_some
from streams.core.errors import BatchUnreadable, ChangelogGap, ChangelogLost, PartitionStopped
from streams.core.topics.topic import Topic
from streams.core.types import LogReader, RecordBatch, TopicPartition
from streams.operate.replay.journal.dead_letter_mark import DeadLetterMark, check_mark
from streams.operate.replay.journal.dispositions import Dispositions, ReplayDisposition
from streams.operate.replay.journal.journal import (
    DecisionsLost,
    Disposed,
    Entry,
    PlanCancelled,
    PlanEntered,
    PlanPaused,
    PlanResumed,
    QueueReplaced,
    RowsShown,
    RunBegun,
    RunEnded,
    entry_at,
)
from streams.operate.replay.journal.ranges import NOTHING, OffsetSet
from streams.operate.replay.plan.plan import ReplayPlan

State: TypeAlias = Literal["entered", "running", "paused", "stopped", "finished", "cancelled"]

_ACTIVE: frozenset[State] = frozenset({"entered", "running"})
_OVER: frozenset[State] = frozenset({"finished", "cancelled"})
_FIRST_OF: tuple[State, ...] = "running", "entered", "paused", "stopped", "cancelled", "finished"
_READ_RECORDS = 500


def state_of(states: Collection[State]) -> State:
    """Of a plan with these states in its partitions, one at least: finished only where all are."""
    return next(state for state in _FIRST_OF if state in states)


@dataclass(slots=True)
class PlanStatus:
    """One plan in one partition. ``reached``: its dead letters below that DLQ offset are done;
    ``left`` ones were skipped undecided. ``rate``: of an agent that runs it here."""

    plan: str
    head: ReplayPlan | None
    by_agent: bool
    end: int
    rate: float | None = None
    mark: DeadLetterMark | None = None
    to_replay: OffsetSet = NOTHING
    to_park: OffsetSet = NOTHING
    letters: int = 0
    state: State = "entered"
    run: str = ""
    reached: int = 0
    replayed: int = 0
    parked: int = 0
    left: int = 0
    actor: str = ""
    reason: str = ""
    began_ms: int = 0
    last_ms: int = 0

    @property
    def active(self) -> bool:
        """It runs or waits to run: no other plan may begin."""
        return self.state in _ACTIVE

    @property
    def over(self) -> bool:
        return self.state in _OVER


@dataclass(slots=True)
class PartitionStatus:
    """The fold of a journal. ``marks`` by offset, ``mark`` the newest. ``arrears``: by seq, entries
    whose rows ClickHouse may lack. ``fault``: why only a part of the journal is known."""

    journal: TopicPartition
    seq: int = 0
    dispositions: Dispositions = field(default_factory=Dispositions)
    plans: dict[str, PlanStatus] = field(default_factory=dict)
    arrears: dict[int, Disposed] = field(default_factory=dict)
    shown: int = 0
    mark: DeadLetterMark | None = None
    marks: dict[int, DeadLetterMark] = field(default_factory=dict)
    fault: PartitionStopped | None = None
    queue: int = 0
    """seq of the last entry for a recreated DLQ or a lost end; 0: none"""

    @property
    def active(self) -> PlanStatus | None:
        return next((plan for plan in self.plans.values() if plan.active), None)

    def apply(self, entry: Entry) -> None:
        """Raises `ChangelogGap` when the entry before is missing."""
        if entry.seq != self.seq + 1:
            raise ChangelogGap(
                f"{self.journal} has entry {entry.seq} behind entry {self.seq}: what was decided "
                f"in between is lost, so nothing can be replayed exactly once any more."
            )
        self.seq = entry.seq
        match entry:
            case PlanEntered():
                self._entered(entry)
            case Disposed():
                self._disposed(entry)
            case RowsShown():
                self._show(entry.shown)
            case QueueReplaced():
                self._replaced(entry)
            case DecisionsLost():
                self.fault = None
                self._cancel_all(entry, "decisions of this partition were lost")
            case _:
                plan = self.plans[entry.plan]
                plan.last_ms = entry.at_ms
                _move(plan, entry)

    def over(self, batch: RecordBatch) -> None:
        """Apply a batch; a `fault` lasts until an operator's `DecisionsLost`."""
        for offset, value in zip(batch.offsets, batch.values, strict=True):
            try:
                entry = entry_at(batch.tp, offset, value)
                if isinstance(entry, DecisionsLost):
                    self.seq = max(self.seq, entry.seq - 1)
                if self.fault is None or isinstance(entry, DecisionsLost):
                    self.apply(entry)
                    continue
            except ChangelogGap as error:
                self.fault = self.fault or error
            else:
                self._pass(entry)

    def _pass(self, entry: Entry) -> None:
        """An entry behind a fault: its decisions are known, its plan may not be."""
        self.seq = max(self.seq, entry.seq)
        if isinstance(entry, Disposed):
            self._disposed(entry)
        elif isinstance(entry, RowsShown):
            self._show(entry.shown)
        elif isinstance(entry, QueueReplaced):
            self._replaced(entry)

    def _entered(self, entry: PlanEntered) -> None:
        plan = self.plans.get(entry.plan)
        if plan is None:
            plan = self.plans[entry.plan] = PlanStatus(
                entry.plan, entry.head, entry.by_agent, entry.end, entry.rate
            )
            plan.actor, plan.began_ms, plan.last_ms = entry.actor, entry.at_ms, entry.at_ms
        self._marked(entry.mark)
        plan.mark = self.mark
        plan.to_replay = plan.to_replay.joined(OffsetSet.parse(entry.replay))
        plan.to_park = plan.to_park.joined(OffsetSet.parse(entry.park))
        plan.letters = len(plan.to_replay) + len(plan.to_park)

    def _disposed(self, entry: Disposed) -> None:
        decided = (
            (ReplayDisposition.REPLAYED, entry.replayed),
            (ReplayDisposition.PARKED, entry.parked),
            (ReplayDisposition.DISCARDED, entry.discarded),
        )
        counts = {}
        for disposition, text in decided:
            offsets = OffsetSet.parse(text)
            self.dispositions.mark(offsets, disposition)
            counts[disposition] = len(offsets)
        self._marked(entry.mark)
        self.arrears[entry.seq] = entry
        self._show(entry.shown)
        if entry.plan and (plan := self.plans.get(entry.plan)) is not None:
            plan.replayed += counts[ReplayDisposition.REPLAYED]
            plan.parked += counts[ReplayDisposition.PARKED]
            plan.left += entry.left
            plan.reason = plan.reason or entry.why_left
            plan.reached, plan.last_ms = entry.reached, entry.at_ms

    def _replaced(self, entry: QueueReplaced) -> None:
        self.queue = entry.seq
        self.dispositions.forget_from(entry.kept)
        self.marks = {at: mark for at, mark in self.marks.items() if at < entry.kept}
        self.mark = self.marks[max(self.marks)] if self.marks else None
        for plan in self.plans.values():
            plan.end = min(plan.end, entry.kept)
        self._show(entry.seq)
        self._cancel_all(entry, "the DLQ topic was made anew")

    def _cancel_all(self, entry: QueueReplaced | DecisionsLost, reason: str) -> None:
        for plan in self.plans.values():
            if not plan.over:
                plan.state, plan.actor = "cancelled", entry.actor
                plan.reason = entry.reason or reason
                plan.to_replay = plan.to_park = NOTHING

    def _marked(self, mark: DeadLetterMark | None) -> None:
        if mark is not None:
            self.mark = self.marks[mark.offset] = mark

    def _show(self, seq: int) -> None:
        self.shown = max(self.shown, seq)
        for old in [number for number in self.arrears if number <= self.shown]:
            del self.arrears[old]


def _move(plan: PlanStatus, entry: Entry) -> None:
    match entry:
        case RunBegun():
            plan.state, plan.run, plan.reason = "running", entry.run, ""
        case RunEnded(outcome="finished"):
            plan.state = "finished"
            plan.to_replay = plan.to_park = NOTHING
        case RunEnded():
            plan.state, plan.reason = "stopped", entry.reason
        case PlanPaused():
            plan.state, plan.actor, plan.reason = "paused", entry.actor, entry.reason
        case PlanResumed():
            plan.state, plan.actor, plan.reason = "entered", entry.actor, ""
            plan.rate = plan.rate if entry.rate is None else entry.rate
        case PlanCancelled():
            plan.state, plan.actor, plan.reason = "cancelled", entry.actor, entry.reason
            plan.to_replay = plan.to_park = NOTHING


async def read_standing(
    reader: LogReader,
    source: Topic,
    partition: int,
    *,
    checked: bool = True,
    whole: bool = True,
) -> PartitionStatus:
    """P3: read the journal up to its last stable offset and, if ``checked``, verify that the DLQ
    holds its dead letters. Not ``whole``: returns a journal with a fault.

    Raises `ChangelogLost` and `ChangelogGap` for an incomplete journal, `UnknownFormat`,
    `TopicRecreated`, and the errors of the reader."""
    journal = TopicPartition(source.journal, partition)
    standing = PartitionStatus(journal)
    offset, end = await reader.beginning_offset(journal), await reader.last_stable_offset(journal)
    if offset > 0:
        standing.fault = ChangelogLost(
            f"{journal} begins at offset {offset}: its oldest decisions were deleted, so nothing "
            f"can be replayed exactly once any more. Its retention must be unlimited: "
            f"`dia topics plan`."
        )
    while offset < end:
        try:
            batch = await read_some(reader, journal, offset, end, _READ_RECORDS)
        except BatchUnreadable as error:
            offset, first = behind(error, end), error.offset
            standing.fault = standing.fault or ChangelogGap(
                f"{journal} cannot be opened at offsets {first} to {offset - 1}: {error.why}. What "
                f"was decided there is lost, so nothing can be replayed exactly once any more."
            )
        else:
            standing.over(batch)
            offset = batch.end
    if whole and standing.fault is not None:
        raise type(standing.fault)(f"{standing.fault} {way_out(source)}")
    if checked:
        await check_mark(reader, TopicPartition(source.dlq, partition), standing.mark)
    return standing


def way_out(source: Topic) -> str:
    return (
        f"To go on without it: `dia dlq renew --topic {source.name} --lost-decisions`; letters that "
        f"were decided on only there are open then."
    )
