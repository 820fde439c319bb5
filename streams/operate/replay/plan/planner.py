"""Makes a plan: which dead letters match, the action for each, and the reasons for the others. It
fences no process. Memory holds counts, a few examples, and the selected offsets as ranges."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from streams.connect.broker.opened import opened
from streams.core.clock import Clock
from streams.core.errors import RefusedBySafety
from streams.core.settings import Settings
from streams.core.topics.topic import Topic
from streams.core.topics.topology import Topology
from streams.core.types import Broker
from streams.operate.dlq.dead_letter import DeadLetterRecord
from streams.operate.dlq.filters import Filters
from streams.operate.dlq.scan import PAGE_RECORDS, OffsetSpan, bounds, scan
from streams.operate.replay.journal.control import standings
from streams.operate.replay.journal.dead_letter_mark import DeadLetterMark, mark_of
from streams.operate.replay.journal.ranges import NOTHING, OffsetSet
from streams.operate.replay.journal.status import PartitionStatus
from streams.operate.replay.plan.assess import Action, Assessed, Assessor
from streams.operate.replay.plan.plan import ReplayPlan, Selection, Terms
from streams.operate.replay.plan.repair import difference

TOO_OLD = "too_old"
_EXAMPLES = 3


@dataclass(slots=True)
class PlanLine:
    """The matching dead letters of one error code. ``passes`` counts those that the current code
    certainly accepts."""

    error: str
    letters: int = 0
    oldest_ms: int = 0
    newest_ms: int = 0
    passes: int = 0
    replay: int = 0
    park: int = 0
    excluded: Counter[str] = field(default_factory=Counter)
    reasons: list[str] = field(default_factory=list)
    """a few reasons why dead letters are not replayed"""
    differences: list[str] = field(default_factory=list)
    """a few records before and after the repair"""

    def add(self, letter: DeadLetterRecord) -> None:
        at_ms = letter.failed_ms
        self.oldest_ms = min(self.oldest_ms, at_ms) if self.letters else at_ms
        self.newest_ms = max(self.newest_ms, at_ms)
        self.letters += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRequest:
    """``asked`` repeats the filters for readers; ``begin``: by partition, the first offset to
    read."""

    source: Topic
    filters: Filters
    terms: Terms
    id: str
    actor: str
    asked: dict[str, Any]
    begin: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Draft:
    """A sealed plan and its report; ``ends``: by partition, the offset up to which the DLQ was
    read."""

    plan: ReplayPlan
    lines: Sequence[PlanLine]
    scanned: int
    ends: Mapping[int, int]


async def make_plan(
    broker: Broker,
    clock: Clock,
    settings: Settings,
    topology: Topology,
    request: PlanRequest,
    progress: Callable[[int, int], None],
    page_records: int = PAGE_RECORDS,
    aside: bool = False,
) -> Draft:
    """Read the DLQ once. ``progress`` receives (offsets read, offsets in all); ``page_records`` and
    ``aside`` are those of `scan`.

    Raises `RefusedBySafety` when source, target or DLQ do not exist, and the errors of `Assessor`,
    `scan` and `standings`."""
    source = request.source
    cluster_id, counts = await look(broker, source, request.terms.target)
    async with opened(broker.reader()) as reader, opened(broker.reader()) as other:
        spans = [
            span._replace(start=max(span.start, request.begin.get(span.tp.partition, 0)))
            for span in await bounds(reader, source.dlq, counts[source.dlq])
        ]
        ends = {span.tp.partition: span.end for span in spans}
        spans = request.filters.narrow(spans)
        known = await standings(reader, source, counts[source.dlq])
        assessor = Assessor(request.terms, settings, topology, other)
        choice = _Choice(request.filters, known, assessor)
        whole, passed = sum(span.offsets for span in spans), 0
        for span in spans:
            async for page in scan(reader, [span], topology, page_records, aside=aside):
                await choice.over(page)
                progress(passed + page[-1].offset + 1 - span.start, whole)
                if choice.full:
                    break
            passed += span.offsets
            if choice.full:
                break
    plan = ReplayPlan(
        id=request.id,
        cluster_id=cluster_id,
        source=source.name,
        made_at_ms=clock.now_ms(),
        made_by=request.actor,
        asked=request.asked,
        terms=request.terms,
        behind=choice.behind(),
        selections=choice.selections(spans),
    )
    return Draft(plan.sealed(), choice.lines(), choice.scanned, ends)


async def look(broker: Broker, source: Topic, target: str | None) -> tuple[str, dict[str, int]]:
    """The cluster's id, and the partition counts of its topics. Raises `RefusedBySafety` for a
    missing one."""
    async with opened(broker.admin()) as admin:
        topics = {name: topic.partitions for name, topic in (await admin.describe_topics()).items()}
        cluster_id = await admin.cluster_id()
    needed = (source.dlq, source.parked, source.journal, target or source.name)
    for name in needed:
        if name not in topics:
            raise RefusedBySafety(
                f"topic {name} does not exist on this cluster, so nothing can be replayed from "
                f"{source.dlq}. Nothing was changed. `dia topics apply` creates what is declared."
            )
    return cluster_id, topics


@dataclass(slots=True)
class _Choice:
    filters: Filters
    known: Sequence[PartitionStatus]
    assessor: Assessor
    scanned: int = 0
    _chosen: int = 0
    _lines: dict[str, PlanLine] = field(default_factory=dict)
    _behind: Counter[str] = field(default_factory=Counter)
    _sets: dict[tuple[int, Action], OffsetSet] = field(default_factory=dict)
    _marks: dict[int, DeadLetterMark] = field(default_factory=dict)

    @property
    def full(self) -> bool:
        limit = self.filters.limit
        return limit is not None and self._chosen >= limit

    async def over(self, page: Sequence[DeadLetterRecord]) -> None:
        self.scanned += len(page)
        meant = [letter for letter in page if self.filters.selects(letter)]
        young = [letter for letter in meant if not self.filters.too_old(letter)]
        for letter in meant:
            if self.filters.too_old(letter):
                line = self._line(letter)
                line.excluded[TOO_OLD] += 1
                self._behind[TOO_OLD] += 1
        if not young:
            return
        partition = young[0].dlq.partition
        found = await self.assessor.assess(young, self.known[partition].dispositions)
        chosen: dict[Action, list[int]] = {Action.REPLAY: [], Action.PARK: []}
        for one in found:
            if self.full:
                break
            self._count(one, chosen)
        last = max((offset for offsets in chosen.values() for offset in offsets), default=None)
        if last is not None:
            kept = [letter for letter in young if letter.offset <= last]
            self._marks[partition] = mark_of(kept)
        for action, offsets in chosen.items():
            before = self._sets.get((partition, action), NOTHING)
            self._sets[partition, action] = before.joined(OffsetSet.of(offsets))

    def _count(self, one: Assessed, chosen: dict[Action, list[int]]) -> None:
        line = self._line(one.letter)
        if one.action in (Action.REPLAY, Action.INSERT):
            line.replay += 1
            line.passes += one.certain
            chosen[Action.REPLAY].append(one.letter.offset)
            self._chosen += 1
            self._exemplify(line, one)
            return
        if one.action is Action.PARK:
            line.park += 1
            chosen[Action.PARK].append(one.letter.offset)
            self._chosen += 1
        else:
            line.excluded[one.reason] += 1
            if not one.decided:
                self._behind[one.reason] += 1
        if one.message and len(line.reasons) < _EXAMPLES:
            line.reasons.append(f"{one.letter.id}: {one.reason}: {one.message}")

    def _exemplify(self, line: PlanLine, one: Assessed) -> None:
        if not self.assessor.repair.changes or len(line.differences) >= _EXAMPLES:
            return
        assert one.record is not None
        before = one.letter.original()
        changed = difference(
            before._replace(headers=one.record.headers, timestamp_ms=one.record.timestamp_ms),
            one.record,
        )
        if changed:
            line.differences.append(f"{one.letter.id}\n{changed}")

    def _line(self, letter: DeadLetterRecord) -> PlanLine:
        code = letter.error_code
        line = self._lines.get(code)
        if line is None:
            line = self._lines[code] = PlanLine(code)
        line.add(letter)
        return line

    def lines(self) -> list[PlanLine]:
        return sorted(self._lines.values(), key=lambda line: (-line.letters, line.error))

    def behind(self) -> dict[str, int]:
        return dict(sorted(self._behind.items()))

    def selections(self, spans: Sequence[OffsetSpan]) -> tuple[Selection, ...]:
        found = []
        for span in spans:
            number = span.tp.partition
            replay = self._sets.get((number, Action.REPLAY), NOTHING)
            park = self._sets.get((number, Action.PARK), NOTHING)
            if replay or park:
                found.append(
                    Selection(
                        partition=number,
                        end=span.end,
                        replay=str(replay),
                        park=str(park),
                        mark=self._marks[number],
                    )
                )
        return tuple(found)


def same_cluster(plan: ReplayPlan, cluster_id: str) -> None:
    """Raises `RefusedBySafety` for a plan of another cluster."""
    if plan.cluster_id != cluster_id:
        raise RefusedBySafety(
            f"plan {plan.id} was made on cluster {plan.cluster_id}, this is cluster {cluster_id}: "
            f"its offsets mean other records here. Nothing was changed; make a plan here: "
            f"`dia replay plan`."
        )
