"""From the records and dead letters of a trace to what became of each record."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from streams.core.errors import DiaError, UnknownTopic
from streams.core.types import RecordBatch, TopicPartition
from streams.engine.agents.agent import AgentSpec
from streams.engine.agents.job_agent import Agent, JobAgent
from streams.engine.runtime.effects.refused_close import WINDOW_STAGE
from streams.engine.runtime.restore.survey import survey
from streams.operate.dlq.dead_letter import DeadLetterRecord
from streams.operate.replay.journal.decided import Decision, history
from streams.operate.reset.outbox_drop import owed_to
from streams.operate.trace.covering_link import covering_link
from streams.operate.trace.event_windows import EventWindow, rows_of_event, windows_of_event
from streams.operate.trace.finding import Finding, LogPlace
from streams.operate.trace.log_scan import SearchedRange, TimeBounds, ranges
from streams.operate.trace.needles import needles
from streams.operate.trace.partition_facts import PartitionFacts, lost_letters, partition_facts
from streams.operate.trace.trace_report import AnswerTrace, LetterTrace, RecordTrace
from streams.operate.trace.traced_record import (
    TracedRecord,
    identity_needles,
    keeps_id,
    records_of,
)
from streams.operate.trace.verdict import Fate, RecordVerdict, SeenRecord, verdicts

JUDGING_S = 5.0
"""Behind the deadline of the search, for commits, windows and rows of what it found."""
_DAY_MS = 86_400_000
_OUTBOX_OFFSETS_MAX = 200_000
"""A longer changelog is not read for the rows of the outbox."""


@dataclass(slots=True)
class Judging:
    found: Finding
    records: list[RecordTrace] = field(default_factory=list)
    letters: list[LetterTrace] = field(default_factory=list)
    """of no found record"""

    async def judge(self) -> None:
        """Raises as `Finding.find`. Where ClickHouse does not answer, doubts say so."""
        by_place: dict[LogPlace, list[LetterTrace]] = {}
        for letter in self.found.letters.values():
            traced = LetterTrace(letter, await self._decisions(letter))
            tp, offset = letter.source_tp, letter.source_offset
            place = None if tp is None or offset is None else LogPlace(tp, offset)
            if letter.stage != WINDOW_STAGE and place is not None and place in self.found.records:
                by_place.setdefault(place, []).append(traced)
            else:
                self.letters.append(traced)
        partitions = sorted({place.tp for place in self.found.records})
        for tp in partitions:
            mine = [one for place, one in sorted(self.found.records.items()) if place.tp == tp]
            agent = self.found.means.agents.get(tp.topic)
            if agent is None:
                self.records += [
                    RecordTrace(record=one, verdict=RecordVerdict(Fate.NO_READER)) for one in mine
                ]
            else:
                self.records += await self._partition(agent, tp, mine, by_place)

    async def _decisions(self, letter: DeadLetterRecord) -> list[Decision]:
        try:
            return await history(self.found.means.reader, self.found.means.topology, letter)
        except UnknownTopic:
            return []

    async def _partition(
        self,
        agent: Agent,
        tp: TopicPartition,
        mine: Sequence[TracedRecord],
        by_place: dict[LogPlace, list[LetterTrace]],
    ) -> list[RecordTrace]:
        means = self.found.means
        facts = await partition_facts(means.admin, means.reader, agent, tp, means.shown)
        dead = {
            one.offset: code_of(by_place.get(LogPlace(tp, one.offset), ()), facts, one.offset)
            for one in mine
        }
        doubts = await self._dead_letter_doubts(agent, facts, mine, dead)
        judged = self._verdicts(agent, facts, mine, dead)
        of_first: dict[int, list[str]] = {}
        traces = []
        for one in mine:
            trace = RecordTrace(
                record=one,
                group=agent.group,
                verdict=judged[one.offset],
                committed=facts.committed_offset if facts.committed is not None else None,
                letters=by_place.get(LogPlace(tp, one.offset), []),
                doubts=[*facts.doubts],
            )
            if trace.verdict.fate in (Fate.COUNTED, Fate.DUPLICATE):
                trace.doubts += doubts
            if trace.verdict.fate is Fate.COUNTED and one.identity is not None:
                of_first[one.offset] = await self._first_doubts(facts, one)
                trace.doubts += of_first[one.offset]
            elif trace.verdict.first is not None:
                trace.doubts += of_first.get(trace.verdict.first, [])
            await self._followed(agent, facts, trace)
            traces.append(trace)
        return traces

    def _verdicts(
        self,
        agent: Agent,
        facts: PartitionFacts,
        mine: Sequence[TracedRecord],
        dead: dict[int, tuple[str, str]],
    ) -> dict[int, RecordVerdict]:
        ttl_ms = self.found.means.settings.dedupe_ttl_s * 1000
        drops = isinstance(agent, JobAgent) or (isinstance(agent, AgentSpec) and bool(agent.ids))
        found: dict[int, RecordVerdict] = {}
        alone = [[one] for one in mine if one.identity is None]
        identities = dict.fromkeys(one.identity for one in mine if one.identity is not None)
        together = [[one for one in mine if one.identity == each] for each in identities]
        for same in (*alone, *together):
            seen = [
                SeenRecord(
                    offset=one.offset,
                    append_ms=one.append_ms,
                    epoch=facts.epoch_of(one.offset),
                    dead=dead[one.offset][1],
                    keeps_id=keeps_id(agent, *dead[one.offset]),
                    shed=facts.is_shed(one.offset),
                )
                for one in same
            ]
            judged = verdicts(
                seen,
                committed=facts.committed_offset,
                ttl_ms=ttl_ms if drops and same[0].identity is not None else None,
            )
            found.update(zip((one.offset for one in same), judged, strict=True))
        return found

    async def _dead_letter_doubts(
        self,
        agent: Agent,
        facts: PartitionFacts,
        mine: Sequence[TracedRecord],
        dead: dict[int, tuple[str, str]],
    ) -> list[str]:
        """Dead letters that the DLQ lost are looked for in ClickHouse, and joined to ``dead``."""
        tp = mine[0].tp
        queue = TopicPartition(agent.source.dlq, tp.partition)
        searched = [one for one in self.found.scan.searched if one.tp == queue]
        whole = all(one.whole and one.log_begin == 0 for one in searched)
        if searched and whole:
            return []
        why = "no ClickHouse shard is known"
        if self.found.means.shown is not None:
            ids = {}
            for one in mine:
                epoch = facts.epoch_of(one.offset)
                ids[one.place + (f"/e{epoch}" if epoch > 0 else "")] = one.offset
            try:
                known = await lost_letters(ids, self.found.means.shown)
            except DiaError as error:
                why = str(error)
            else:
                for offset, code in known.items():
                    dead[offset] = ("", dead[offset][1] or code)
                return []
        return [f"{queue} is not known whole, so it may be a dead letter: {why}"]

    async def _first_doubts(self, facts: PartitionFacts, one: TracedRecord) -> list[str]:
        """Why an earlier record of its identity may have been overlooked."""
        ttl_s = self.found.means.settings.dedupe_ttl_s
        reader = self.found.means.reader
        since = (await reader.offsets_since([one.tp], one.append_ms - ttl_s * 1000))[one.tp]
        wanted = {*identity_needles(one.identity)} if one.identity is not None else set()
        here = [part for part in self.found.scan.searched if part.tp == one.tp]
        before = [part for part in here if part.start < one.offset and wanted <= part.needles]
        reached = _reached(before, since)
        if reached < one.offset:
            return [f"offsets {reached} to {one.offset - 1} were not searched for its first record"]
        if gaps := [gap for part in before for gap in part.unreadable if gap[0] < one.offset]:
            return [
                f"offsets {gaps[0][0]} to {gaps[0][1] - 1} of {one.tp} cannot be opened: a first record may lie there"
            ]
        begin = min((part.log_begin for part in here), default=since)
        epoch_start = facts.last.link.start_offset if facts.last is not None else 0
        if since <= begin and begin > epoch_start:
            why = f"if the id came before that, within {ttl_s} s (DIA_DEDUPE_TTL_S)"
            return [f"{one.tp} begins at offset {begin}: {why}, this record is its duplicate"]
        return []

    # --- commit, windows, rows, answers ---------------------------------------------------------

    async def _followed(self, agent: Agent, facts: PartitionFacts, trace: RecordTrace) -> None:
        """A verdict is worth telling without them, and a browser waits no longer."""
        left_s = self.found.scan.deadline_s + JUDGING_S - self.found.means.clock.monotonic()
        limit = asyncio.timeout(max(0.0, left_s))
        try:
            async with limit:
                await self._effects(agent, facts, trace)
        except TimeoutError:
            if not limit.expired():
                raise
            trace.doubts.append("commit, windows and rows were not all looked up in time")

    async def _effects(self, agent: Agent, facts: PartitionFacts, trace: RecordTrace) -> None:
        means, record = self.found.means, trace.record
        if trace.verdict.fate is Fate.UNREAD or facts.committed is None:
            return
        changelog = TopicPartition(agent.source.changelog(agent.group), record.tp.partition)
        try:
            trace.link = await covering_link(
                means.reader,
                changelog,
                record.offset,
                facts.epoch_of(record.offset),
                record.append_ms,
            )
        except UnknownTopic as error:
            trace.doubts.append(str(error))
        if isinstance(agent, JobAgent):
            await self._answers(agent, trace)
        if trace.verdict.fate is not Fate.COUNTED and not isinstance(agent, JobAgent):
            return
        if means.shown is None:
            trace.doubts.append("rows were not looked up: no ClickHouse shard is known")
            return
        try:
            if trace.verdict.fate is Fate.COUNTED:
                kept_ms = means.settings.m1_retention_days * _DAY_MS
                trace.windows = await windows_of_event(
                    *(agent, record, trace.link, means.shown),
                    *(means.clock.now_ms() - kept_ms, means.reader),
                )
            owner = self.found.bounds.owner
            if owner is not None:
                trace.windows = [_own(window, owner) for window in trace.windows]
            text = self.found.text if owner is None else None
            trace.rows = await rows_of_event(means.fact_tables, record, text, means.shown)
        except DiaError as error:
            trace.doubts.append(f"rows could not be looked up: {error}")
        missing = any(one.stored is False and not one.late for one in trace.windows)
        if missing and self.found.bounds.owner is None:
            trace.in_outbox = await self._in_outbox(changelog)

    async def _in_outbox(self, changelog: TopicPartition) -> dict[str, int]:
        """Rows of the outbox by target; empty also where the changelog is too long to read here."""
        means = self.found.means
        bounds = (await means.reader.bounds([changelog]))[changelog]
        if bounds.stable_end - bounds.begin > _OUTBOX_OFFSETS_MAX or self.found.scan.late:
            return {}
        standing = await survey(means.reader, changelog)
        backlog = owed_to(means.topology.targets, standing.owed)
        return {one.target.name: one.rows for one in backlog if one.rows}

    async def _answers(self, agent: JobAgent[object], trace: RecordTrace) -> None:
        """The results of the request's key, in the partition of its number."""
        record, means = trace.record, self.found.means
        if record.identity is None or agent.results.name not in self.found.partitions:
            return
        tenant, key = record.identity[0], str(record.identity[1])
        tp = TopicPartition(agent.results.name, record.tp.partition)
        times = TimeBounds(record.append_ms)

        async def take(batch: RecordBatch) -> None:
            for one in await records_of(agent.results, None, batch, means.limits):
                if one.tenant not in ("", tenant):
                    continue
                values = one.fields or {}
                # The answer to a late repeat has old times, which the codec refuses.
                if one.fields is None or key in map(str, values.values()):
                    fields = {
                        name: value
                        for name, value in values.items()
                        if isinstance(value, str | int | float)
                    }
                    trace.answers.append(AnswerTrace(one.place, one.append_ms, fields or None))

        await self.found.scan.search(await ranges(means.reader, [tp], times), needles(key), take)


def code_of(found: Sequence[LetterTrace], facts: PartitionFacts, offset: int) -> tuple[str, str]:
    """Stage and code of the record's dead letter in its epoch, ("", "") without one."""
    epoch = facts.epoch_of(offset)
    for one in reversed(found):
        named = one.letter.id.rpartition("/e")
        of_epoch = int(named[2]) if named[1] and named[2].isdigit() else 0
        if of_epoch == epoch or (epoch < 0 <= of_epoch):
            return one.letter.stage, one.letter.error_code
    return "", ""


def _own(window: EventWindow, owner: str) -> EventWindow:
    """Without figures, where the window's key does not name the tenant: it may hold events of
    others."""
    return (
        window
        if owner in map(str, window.names.values())
        else replace(window, rows=(), course=None)
    )


def _reached(searched: Sequence[SearchedRange], since: int) -> int:
    """How far the offsets from ``since`` on are searched without a hole."""
    at = since
    for part in sorted(searched, key=lambda one: one.start):
        if part.start <= at:
            at = max(at, part.reached)
    return at
