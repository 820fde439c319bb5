"""The journal of one DLQ partition: one JSON record for each decision, in commit order.

The partition's replay producer writes each entry in the transaction that it describes. It is never
trimmed. ``seq`` counts from 1 without gaps."""

from __future__ import annotations

from typing import Final, TypeAlias

import msgspec

from streams.core.errors import ChangelogGap, UnknownFormat
from streams.core.types import OutboundRecord, RecordBatch, TopicPartition
from streams.operate.replay.journal.dead_letter_mark import DeadLetterMark
from streams.operate.replay.plan.plan import ReplayPlan

FORMAT: Final = 1
RANGES_PER_ENTRY: Final = 15_000
"""At most 32 characters each, and two sets: below the broker's default limit of 1 MiB."""


class _Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind"):
    seq: int = 0
    at_ms: int
    actor: str
    v: int = FORMAT


class PlanEntered(_Entry, frozen=True, kw_only=True, tag="plan_entered"):
    """``part`` 0 of ``parts`` has the ``head``; the offsets of all parts form one set.
    ``by_agent``: a worker runs it at ``rate`` dead letters a second here (None: full speed)."""

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
    """A process continues the plan; an earlier ``run`` of it has ended."""

    plan: str
    run: str


class Disposed(_Entry, frozen=True, kw_only=True, tag="disposed"):
    """Decisions, in the transaction that carried them out. ``plan`` is "" for a manual one.
    ``reached``: dead letters of the plan below that offset are done, ``left`` of them undecided,
    the first because of ``why_left``. ``shown``: ClickHouse has the rows up to that seq."""

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
    """The plan is ``finished``, or ``stopped`` at a dead letter for ``reason``."""

    plan: str
    run: str
    outcome: str
    reason: str = ""


class QueueReplaced(_Entry, frozen=True, kw_only=True, tag="queue_replaced"):
    """The DLQ topic was recreated, or lost its end: only entries below ``kept`` concern existing
    dead letters."""

    kept: int = 0
    reason: str = ""


class DecisionsLost(_Entry, frozen=True, kw_only=True, tag="decisions_lost"):
    """An operator continues without lost or unreadable entries: dead letters decided only there are
    open, unfinished plans are cancelled. Its ``seq`` may leave a gap."""

    reason: str = ""


class PlanPaused(_Entry, frozen=True, kw_only=True, tag="plan_paused"):
    plan: str
    reason: str = ""


class PlanResumed(_Entry, frozen=True, kw_only=True, tag="plan_resumed"):
    """A worker may continue the plan, at another ``rate`` if given."""

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
    return OutboundRecord(journal, None, _encode(entry))


def entries(batch: RecordBatch) -> list[Entry]:
    """Raises `UnknownFormat` for entries of a newer version of dia, and `ChangelogGap` for other
    records."""
    rows = zip(batch.offsets, batch.values, strict=True)
    return [entry_at(batch.tp, offset, value) for offset, value in rows]


def entry_at(tp: TopicPartition, offset: int, value: bytes | None) -> Entry:
    """Raises as `entries`."""
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
