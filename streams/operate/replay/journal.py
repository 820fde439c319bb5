"""The journal of one DLQ partition: one JSON record for every decision, in the order they became
true.

It is the changelog of the dispositions, the memory of every plan's progress, and the audit trail;
one log, so that the three cannot disagree. Only the partition's replay producer writes it (P2),
each entry in the transaction of what it speaks of, and nothing is ever trimmed: an entry is a
few ranges of offsets, whatever the number of letters. ``seq`` counts from 1 without a hole.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import msgspec

from streams.core.errors import ChangelogGap, UnknownFormat
from streams.core.types import OutboundRecord, RecordBatch, TopicPartition
from streams.operate.replay.dead_letter_mark import DeadLetterMark
from streams.operate.replay.plan import ReplayPlan

FORMAT: Final = 1
RANGES_PER_ENTRY: Final = 15_000
"""Of at most 32 characters each, and of two sets: with room to spare below the broker's default of 1 MiB."""


class _Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind"):
    seq: int = 0
    at_ms: int
    actor: str
    v: int = FORMAT


class PlanEntered(_Entry, frozen=True, kw_only=True, tag="plan_entered"):
    """A plan for this partition; ``part`` 0 of ``parts`` has its ``head``. The offsets of all
    parts belong together. ``by_agent``: a worker is to run it, at ``rate`` letters a second here
    (None: as fast as it goes)."""

    plan: str
    head: ReplayPlan | None = None
    end: int
    replay: str = ""
    park: str = ""
    part: int = 0
    parts: int = 1
    by_agent: bool = False
    rate: float | None = None
    mark: DeadLetterMark | None = None


class RunBegun(_Entry, frozen=True, kw_only=True, tag="run_begun"):
    """A process goes on with the plan; an earlier ``run`` of it is over."""

    plan: str
    run: str


class Disposed(_Entry, frozen=True, kw_only=True, tag="disposed"):
    """Letters were decided on, in the transaction that did it. ``plan`` is "" for a decision
    taken by hand. ``reached``: letters of the plan below that offset are done with, ``left`` of
    them without a decision, the first of them because of ``why_left``. ``shown``: ClickHouse has the rows of all entries up to that seq."""

    plan: str = ""
    run: str = ""
    replayed: str = ""
    parked: str = ""
    discarded: str = ""
    left: int = 0
    why_left: str = ""
    reached: int = 0
    shown: int = 0
    reason: str = ""
    mark: DeadLetterMark | None = None


class RowsShown(_Entry, frozen=True, kw_only=True, tag="rows_shown"):
    """ClickHouse has the rows of all entries up to ``shown``."""

    shown: int


class RunEnded(_Entry, frozen=True, kw_only=True, tag="run_ended"):
    """The plan is ``finished`` with, or ``stopped`` at a letter for ``reason``."""

    plan: str
    run: str
    outcome: str
    reason: str = ""


class QueueReplaced(_Entry, frozen=True, kw_only=True, tag="queue_replaced"):
    """The DLQ topic was made anew, or lost its end: entries before this one speak of letters that are
    gone, but for those at offsets below ``kept``."""

    kept: int = 0
    reason: str = ""


class DecisionsLost(_Entry, frozen=True, kw_only=True, tag="decisions_lost"):
    """Entries before this one are gone or cannot be read, and an operator goes on without them:
    letters that were decided on only there are open, plans that were not over are cancelled. Its
    ``seq`` may leave a hole."""

    reason: str = ""


class PlanPaused(_Entry, frozen=True, kw_only=True, tag="plan_paused"):
    plan: str
    reason: str = ""


class PlanResumed(_Entry, frozen=True, kw_only=True, tag="plan_resumed"):
    """A worker may go on with it, at another ``rate`` if one is given."""

    plan: str
    rate: float | None = None


class PlanCancelled(_Entry, frozen=True, kw_only=True, tag="plan_cancelled"):
    plan: str
    reason: str = ""


Entry: TypeAlias = (
    PlanEntered
    | RunBegun
    | Disposed
    | RowsShown
    | RunEnded
    | QueueReplaced
    | DecisionsLost
    | PlanPaused
    | PlanResumed
    | PlanCancelled
)

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Entry).decode


def record(journal: TopicPartition, entry: Entry) -> OutboundRecord:
    """The entry on its way to the log."""
    return OutboundRecord(journal, None, _encode(entry))


def entries(batch: RecordBatch) -> list[Entry]:
    """The entries of a batch. Raises `UnknownFormat` for those of a newer version of dia, and
    `ChangelogGap` for what is no entry."""
    rows = zip(batch.offsets, batch.values, strict=True)
    return [entry_at(batch.tp, offset, value) for offset, value in rows]


def entry_at(tp: TopicPartition, offset: int, value: bytes | None) -> Entry:
    """One entry. Raises as `entries`."""
    try:
        entry: Entry = _decode(value or b"")
    except msgspec.ValidationError as error:
        raise UnknownFormat(
            f"{tp} offset {offset} was written by another version of dia: {error}. Run "
            f"the version that wrote it, or a newer one."
        ) from error
    except msgspec.DecodeError as error:
        raise ChangelogGap(
            f"{tp} offset {offset} is no journal entry: was it written by dia?"
        ) from error
    if entry.v != FORMAT:
        raise UnknownFormat(
            f"{tp} offset {offset} is in format {entry.v}, this version of dia reads "
            f"format {FORMAT}. Run the version that wrote it, or a newer one."
        )
    return entry
