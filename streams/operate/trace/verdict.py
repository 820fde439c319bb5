"""What a partition did with records of one identity (docs/protocols/trace.md)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum


class Fate(Enum):
    COUNTED = "counted"
    DUPLICATE = "duplicate"
    DEAD_LETTER = "dead letter"
    SHED = "skipped by order"
    UNREAD = "not read yet"
    NO_READER = "no agent reads its topic"


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenRecord:
    """A record of one partition. ``dead``: the code of its dead letter, "" without one; ``keeps_id``:
    its agent remembered its id all the same. ``epoch`` is that in which the partition read it."""

    offset: int
    append_ms: int
    epoch: int = 0
    dead: str = ""
    keeps_id: bool = False
    shed: bool = False


@dataclass(frozen=True, slots=True)
class RecordVerdict:
    """``first``: the offset that the record repeats. ``code``: of its dead letter."""

    fate: Fate
    first: int | None = None
    code: str = ""


def verdicts(
    records: Sequence[SeenRecord], *, committed: int, ttl_ms: int | None
) -> list[RecordVerdict]:
    """The verdict on each of the records of one identity in one partition, by ascending offset.

    ``committed``: the group's committed offset. ``ttl_ms``: how long an id is remembered; None: the
    agent does not drop repeats.
    """
    found: list[RecordVerdict] = []
    first: SeenRecord | None = None
    for record in records:
        repeats = (
            first is not None
            and ttl_ms is not None
            and record.epoch == first.epoch
            and record.append_ms - first.append_ms <= ttl_ms
        )
        if record.dead:
            found.append(RecordVerdict(Fate.DEAD_LETTER, code=record.dead))
            first = record if record.keeps_id and not repeats else first
        elif record.offset >= committed:
            found.append(RecordVerdict(Fate.UNREAD))
        elif record.shed:
            found.append(RecordVerdict(Fate.SHED))
        elif repeats and first is not None:
            found.append(RecordVerdict(Fate.DUPLICATE, first=first.offset))
        else:
            found.append(RecordVerdict(Fate.COUNTED))
            first = record
    return found
