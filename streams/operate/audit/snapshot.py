"""The counts of one source topic as read, before any comparison."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from streams.core.types import TopicPartition
from streams.operate.audit.refused import RefusedRows


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRow:
    """One epoch of one partition, cumulative up to ``next_offset``."""

    partition: int
    epoch: int
    next_offset: int
    read: int
    applied: int
    duplicates: int
    dead: int
    gaps: int
    dead_by_code: Mapping[str, int]
    shed: int = 0

    @property
    def start_offset(self) -> int:
        return self.next_offset - self.read - self.gaps


@dataclass(frozen=True, slots=True, kw_only=True)
class ShedRange:
    """Offsets [first, until) that ``actor`` skipped."""

    partition: int
    epoch: int
    first: int
    until: int
    order: str
    actor: str
    reason: str
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionSnapshot:
    """The committed ones are None before the group's first commit."""

    partition: int
    begin_offset: int
    end_offset: int
    committed_offset: int | None
    committed_epoch: int | None
    ledger: tuple[LedgerRow, ...]
    shed: tuple[ShedRange, ...] = ()

    @property
    def lag(self) -> int:
        done = self.begin_offset if self.committed_offset is None else self.committed_offset
        return max(0, self.end_offset - done)


class DeadLetterPlace(NamedTuple):
    """After a reset the same offsets may hold other records."""

    epoch: int
    offset: int


@dataclass(slots=True)
class DeadLetterCounts:
    """``in_dlq``: error code by id; ``records``: counts by (partition, code), with repeated ids.
    ``trimmed`` and ``unreadable`` (a reason each) partitions lack some letters."""

    in_dlq: dict[str, str] = field(default_factory=dict)
    in_rows: dict[str, str] = field(default_factory=dict)
    records: Counter[tuple[int, str]] = field(default_factory=Counter)
    trimmed: set[int] = field(default_factory=set)
    unreadable: dict[int, str] = field(default_factory=dict)

    def codes(self, tp: TopicPartition) -> dict[DeadLetterPlace, str]:
        """Error codes of the partition's dead letters in Kafka or ClickHouse."""
        return {
            place: code
            for name, code in {**self.in_rows, **self.in_dlq}.items()
            if (place := letter_place(name, tp)) is not None
        }


def letter_place(name: str, tp: TopicPartition) -> DeadLetterPlace | None:
    """None for another partition, or for a row. From epoch 1 on the name includes the epoch
    (streams/engine/runtime/effects/dead_letters.py)."""
    found = re.fullmatch(r"(\d{1,18})(?:/e(\d{1,9}))?", name.removeprefix(f"{tp}/"))
    if found is None or not name.startswith(f"{tp}/"):
        return None
    return DeadLetterPlace(int(found[2] or 0), int(found[1]))


@dataclass(frozen=True, slots=True, kw_only=True)
class StaleRollUp:
    """An hour or day that differs from the sum of its minutes."""

    table: str
    series: str
    start: str
    in_minutes: tuple[int, float]
    stored: tuple[int, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSnapshot:
    """``rows``: events by (partition, epoch), None for a topic without windows. ``expired_events``:
    of days whose minutes have begun to expire. ``moving`` partitions committed during the read."""

    group: str
    topic: str
    partitions: tuple[PartitionSnapshot, ...]
    dead: DeadLetterCounts
    refused: RefusedRows
    rows: Mapping[tuple[int, int], int] | None
    expired_events: int
    stale: tuple[StaleRollUp, ...]
    moving: frozenset[int] = frozenset()

    @property
    def lag(self) -> int:
        return sum(books.lag for books in self.partitions)
