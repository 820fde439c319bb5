"""Manual decisions: discard or park dead letters; pause, resume or cancel plans.

Each is an entry of the partition's journal by the partition's replay producer (P2). That fences a
running replay, which then reads the entry."""

from __future__ import annotations

from collections.abc import AsyncIterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np

from streams.connect.broker.opened import opened
from streams.core.clock import Clock
from streams.core.errors import RefusedBySafety, UsageError
from streams.core.rows.built_in_tables import ShardSet
from streams.core.topics.topic import Topic
from streams.core.topics.topology import Topology
from streams.core.types import Broker, LogReader, TopicConfig
from streams.operate.dlq.dead_letter import DeadLetterRecord
from streams.operate.replay.journal.dead_letter_mark import mark_of
from streams.operate.replay.journal.dispositions import ReplayDisposition
from streams.operate.replay.journal.journal import (
    Disposed,
    Entry,
    PlanCancelled,
    PlanPaused,
    PlanResumed,
    RowsShown,
)
from streams.operate.replay.journal.owner import QueueOwner, owned
from streams.operate.replay.journal.ranges import OffsetSet
from streams.operate.replay.journal.status import PartitionStatus, PlanStatus, read_standing
from streams.operate.replay.plan.plan import ReplayPlan, Selection
from streams.operate.replay.run.disposition_publisher import DispositionPublisher
from streams.operate.replay.run.outgoing import parked_record
from streams.operate.replay.run.pace import share

Word = Literal["pause", "resume", "cancel"]

_LETTERS_PER_STEP = 2000
_FROM = {
    ReplayDisposition.PARKED: (ReplayDisposition.OPEN,),
    ReplayDisposition.DISCARDED: (ReplayDisposition.OPEN, ReplayDisposition.PARKED),
}
"""Allowed transitions. A replayed dead letter stays replayed."""


@dataclass(slots=True)
class Disposal:
    """``disposed`` counts new decisions, ``unchanged`` earlier ones. ``shown``: ClickHouse has the
    rows; else the partition's next owner inserts them."""

    disposed: int = 0
    unchanged: int = 0
    shown: bool = True


async def standings(reader: LogReader, source: Topic, partitions: int) -> list[PartitionStatus]:
    """The status of each partition, without fencing its owner. Raises `UnknownTopic`, and
    `PartitionStopped` kinds for an incomplete journal."""
    return [await read_standing(reader, source, number) for number in range(partitions)]


async def dispose(
    broker: Broker,
    shards: ShardSet | None,
    clock: Clock,
    topology: Topology,
    source: Topic,
    pages: AsyncIterable[Sequence[DeadLetterRecord]],
    disposition: ReplayDisposition,
    actor: str,
    reason: str = "",
) -> Disposal:
    """Park or discard dead letters of ``source``'s DLQ. Parking copies to the parking lot in the
    same transaction. A page is of one partition in offset order; pages of one partition are
    consecutive.

    Raises `PartitionRestart` kinds when another process took the partition: repeating is
    harmless."""
    result = Disposal()
    async with AsyncExitStack() as stack:
        desk: _Desk | None = None
        async for page in pages:
            if not page:
                continue
            if desk is None or desk.owner.partition != page[0].dlq.partition:
                if desk is not None:
                    await desk.finish(result)
                await stack.aclose()
                number = page[0].dlq.partition
                owner = await stack.enter_async_context(
                    owned(broker, clock, topology, source, number)
                )
                desk = _Desk(owner, DispositionPublisher(shards, owner, clock), clock, actor)
                stack.push_async_callback(desk.showing.abandon)
                await desk.showing.catch_up()
            for start in range(0, len(page), _LETTERS_PER_STEP):
                part = page[start : start + _LETTERS_PER_STEP]
                await desk.decide(part, disposition, reason, result)
        if desk is not None:
            await desk.finish(result)
    return result


@dataclass(slots=True)
class _Desk:
    owner: QueueOwner
    showing: DispositionPublisher
    clock: Clock
    actor: str

    async def decide(
        self,
        letters: Sequence[DeadLetterRecord],
        disposition: ReplayDisposition,
        reason: str,
        result: Disposal,
    ) -> None:
        offsets = np.array([letter.offset for letter in letters], np.int64)
        codes = self.owner.standing.dispositions.codes(offsets)
        may = np.isin(codes, _FROM[disposition])
        chosen = [letter for letter, ok in zip(letters, may.tolist(), strict=True) if ok]
        result.unchanged += len(letters) - len(chosen)
        if not chosen:
            return
        text = str(OffsetSet.of(offsets[may]))
        entry = Disposed(
            at_ms=self.clock.now_ms(),
            actor=self.actor,
            reason=reason,
            parked=text if disposition is ReplayDisposition.PARKED else "",
            discarded=text if disposition is ReplayDisposition.DISCARDED else "",
            shown=self.showing.seq,
            mark=mark_of(chosen),
        )
        records = [
            parked_record(self.owner.source, letter, reason or "by hand")
            for letter in chosen
            if disposition is ReplayDisposition.PARKED
        ]
        await self.owner.commit([entry], records)
        result.disposed += len(chosen)
        await self.showing.put(entry, chosen, {letter.offset: disposition for letter in chosen})

    async def finish(self, result: Disposal) -> None:
        await self.showing.finish()
        result.shown = result.shown and not self.showing.behind
        await say_shown(self.owner, self.showing, self.clock, self.actor)


async def say_shown(
    owner: QueueOwner, showing: DispositionPublisher, clock: Clock, actor: str
) -> None:
    """Journal that ClickHouse has the rows, so that no later owner inserts them again."""
    if showing.seq > owner.standing.shown and owner.standing.arrears:
        await owner.commit([RowsShown(at_ms=clock.now_ms(), actor=actor, shown=showing.seq)])


async def journals(broker: Broker, sources: Sequence[Topic]) -> dict[Topic, list[PartitionStatus]]:
    """The status of each partition, by source that has a journal. Raises as `standings`."""
    async with opened(broker.admin()) as admin:
        topics = await admin.describe_topics()
    async with opened(broker.reader()) as reader:
        return await journals_in(reader, topics, sources)


async def journals_in(
    reader: LogReader, topics: Mapping[str, TopicConfig], sources: Sequence[Topic]
) -> dict[Topic, list[PartitionStatus]]:
    return {
        source: await standings(reader, source, topics[source.journal].partitions)
        for source in sources
        if source.journal in topics
    }


async def find_plan(
    broker: Broker, plan: str, sources: Sequence[Topic]
) -> tuple[Topic, dict[int, PlanStatus]]:
    """By partition. Raises `UsageError` for an unknown plan."""
    for source, known in (await journals(broker, sources)).items():
        found = {n: s.plans[plan] for n, s in enumerate(known) if plan in s.plans}
        if found:
            return source, found
    raise UsageError(f"there is no plan {plan} here. `dia replay status` lists those that began.")


def plan_in(journal: Mapping[int, PlanStatus]) -> ReplayPlan:
    """The plan from its statuses; finished partitions have no offsets left. Raises
    `RefusedBySafety` when some partition lacks it: then only its file is complete."""
    head = next(s.head for s in journal.values())
    assert head is not None, "part 0 of a plan has its head"
    for selection in head.selections:
        if selection.partition not in journal:
            raise RefusedBySafety(
                f"plan {head.id} was interrupted before it was entered everywhere: partition "
                f"{selection.partition} lacks it. Continue with its file: "
                f"`dia replay run --plan FILE`."
            )
    selections = tuple(
        Selection(partition=n, end=s.end, replay=str(s.to_replay), park=str(s.to_park))
        for n, s in sorted(journal.items())
    )
    return msgspec.structs.replace(head, selections=selections)


async def tell(
    broker: Broker,
    clock: Clock,
    topology: Topology,
    source: Topic,
    found: dict[int, PlanStatus],
    word: Word,
    actor: str,
    reason: str = "",
    rate: float | None = None,
) -> dict[int, PlanStatus]:
    """Pause, resume or cancel a plan in every partition where that applies; returns the new status.
    ``found`` is its last known one. ``rate``: dead letters a second after resuming; None keeps it.

    Raises `RefusedBySafety` when the plan is over in every partition."""
    plan = next(iter(found.values())).plan
    found, letters = dict(found), sum(standing.letters for standing in found.values())
    if all(standing.over for standing in found.values()):
        states = ", ".join(sorted({standing.state for standing in found.values()}))
        raise RefusedBySafety(f"plan {plan} is {states} already: nothing was changed.")
    for number, standing in found.items():
        if _means_something(word, standing):
            async with owned(broker, clock, topology, source, number) as owner:
                now = owner.standing.plans[plan]
                if _means_something(word, now):
                    own = share(rate, now.letters, letters)
                    await owner.commit([_entry(word, plan, clock.now_ms(), actor, reason, own)])
                found[number] = now
    return found


def _means_something(word: Word, standing: PlanStatus) -> bool:
    if standing.over:
        return False
    if word == "pause":
        return standing.state != "paused"
    return word == "cancel" or standing.state in ("paused", "stopped")


def _entry(word: Word, plan: str, at_ms: int, actor: str, reason: str, rate: float | None) -> Entry:
    if word == "pause":
        return PlanPaused(at_ms=at_ms, actor=actor, plan=plan, reason=reason)
    if word == "cancel":
        return PlanCancelled(at_ms=at_ms, actor=actor, plan=plan, reason=reason)
    return PlanResumed(at_ms=at_ms, actor=actor, plan=plan, rate=rate)
