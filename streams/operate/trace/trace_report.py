"""The answer of a trace: the records of an id, dead letters, plans, and what was searched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from streams.operate.dlq.dead_letter import DeadLetterRecord
from streams.operate.replay.journal.decided import Decision
from streams.operate.replay.journal.dispositions import ReplayDisposition
from streams.operate.replay.journal.status import PlanStatus
from streams.operate.trace.covering_link import CoveringLink
from streams.operate.trace.event_windows import EventRows, EventWindow
from streams.operate.trace.log_scan import SearchedRange
from streams.operate.trace.traced_record import TracedRecord
from streams.operate.trace.verdict import Fate, RecordVerdict


@dataclass(frozen=True, slots=True)
class TimelineStep:
    """``at_ms``: milliseconds since the epoch; None where only the order is known."""

    at_ms: int | None
    what: str
    text: str


@dataclass(frozen=True, slots=True)
class LetterTrace:
    """A dead letter with every decision on it, oldest first."""

    letter: DeadLetterRecord
    decisions: Sequence[Decision]

    @property
    def state(self) -> str:
        """The last decision, or `open`."""
        last = self.decisions[-1].disposition if self.decisions else ReplayDisposition.OPEN
        return last.word or "open"

    @property
    def place(self) -> str:
        return f"{self.letter.dlq}/{self.letter.offset}"


@dataclass(frozen=True, slots=True)
class AnswerTrace:
    """A result record of a request."""

    place: str
    append_ms: int
    fields: Mapping[str, Any] | None


@dataclass(slots=True, kw_only=True)
class RecordTrace:
    """What became of one record. ``committed``: the committed offset of ``group``; ``link``: its
    commit. ``doubts``: what the logs no longer decide, each a sentence. ``in_outbox``: rows of the
    partition's outbox by target, read only where a row is missing."""

    record: TracedRecord
    group: str = ""
    verdict: RecordVerdict
    committed: int | None = None
    link: CoveringLink | None = None
    letters: list[LetterTrace] = field(default_factory=list)
    windows: list[EventWindow] = field(default_factory=list)
    rows: list[EventRows] = field(default_factory=list)
    answers: list[AnswerTrace] = field(default_factory=list)
    in_outbox: dict[str, int] = field(default_factory=dict)
    doubts: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class PlanTrace:
    """A replay plan in one partition of a DLQ."""

    topic: str
    partition: int
    status: PlanStatus


@dataclass(slots=True, kw_only=True)
class TraceReport:
    """``records``, ``letters`` and ``plans`` of the text ``asked``; ``letters``: those without one
    of the records. ``more``: the search ended at its number of finds. ``late``: at its deadline."""

    asked: str
    records: list[RecordTrace] = field(default_factory=list)
    letters: list[LetterTrace] = field(default_factory=list)
    plans: list[PlanTrace] = field(default_factory=list)
    searched: list[SearchedRange] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    more: bool = False
    late: bool = False

    @property
    def found(self) -> bool:
        return bool(self.records or self.letters or self.plans)

    @property
    def whole(self) -> bool:
        """Whether all that was to be searched is searched."""
        return not self.late and all(one.whole for one in self.searched)

    @property
    def kinds(self) -> list[str]:
        """What the text is the name of."""
        found: dict[str, None] = {}
        for one in self.records:
            found |= dict.fromkeys(one.record.found_by)
        if self.letters:
            found["dead letter"] = None
        if self.plans:
            found["plan"] = None
        return [*found]

    @property
    def outcome(self) -> str:
        """One sentence on what became of it in the end."""
        fates = {one.verdict.fate: one for one in reversed(self.records)}
        for fate in (Fate.COUNTED, Fate.UNREAD, Fate.DEAD_LETTER, Fate.SHED, Fate.NO_READER):
            if fate in fates:
                return _sentence(fates[fate])
        if self.records:
            return _sentence(self.records[0])
        if self.letters:
            last = self.letters[-1]
            return f"dead letter {last.letter.id}: {last.letter.error_code}, {last.state}"
        return (
            ""
            if not self.plans
            else f"plan: {', '.join(sorted({p.status.state for p in self.plans}))}"
        )


def _sentence(one: RecordTrace) -> str:
    fate, place = one.verdict.fate, one.record.place
    if fate is Fate.DEAD_LETTER:
        state = one.letters[-1].state if one.letters else "state unknown"
        return f"dead letter {one.verdict.code} of {place}, {state}"
    if fate is Fate.DUPLICATE:
        return f"duplicate of offset {one.verdict.first} at {place}"
    if fate is Fate.COUNTED and one.windows and all(w.late for w in one.windows):
        return f"late at {place}: dropped by every window"
    return f"{fate.value}: {place}"
