"""Filters of dead letters, the same for every command that reads a DLQ."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, NamedTuple

from streams.core.topics.topology import Topology
from streams.core.types import LogReader
from streams.operate.dlq.dead_letter import DeadLetterRecord, tenant_named
from streams.operate.dlq.scan import OffsetSpan, scan


async def select(
    reader: LogReader,
    spans: Iterable[OffsetSpan],
    filters: Filters,
    topology: Topology,
    read: Callable[[int], None] = lambda letters: None,
) -> AsyncGenerator[list[DeadLetterRecord], None]:
    """Lists of matches, none empty, at most ``filters.limit`` in all. ``read`` receives the number
    of scanned dead letters. Raises as `scan`."""
    left = filters.limit
    async with aclosing(scan(reader, filters.narrow(spans), topology)) as pages:
        async for page in pages:
            read(len(page))
            found = filters.select(page)
            if left is not None:
                found = found[:left]
                left -= len(found)
            if found:
                yield found
            if left == 0:
                return


def belongs(letter: DeadLetterRecord, value: bytes | None, tenant: str) -> bool:
    """A record whose key and value name two tenants is visible to neither."""
    return letter.tenant == tenant and tenant_named(value) in ("", tenant)


NO_PATH: Final = "none"
"""in ``paths``: messages that name no field"""


class QueuePlace(NamedTuple):
    """Partition and offset of one dead letter in its DLQ."""

    partition: int
    offset: int


class OffsetRange(NamedTuple):
    """DLQ offsets, both ends included."""

    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """A dead letter must meet each given condition, and any of the values of one condition.

    Times are milliseconds since the epoch, of `DeadLetterRecord.failed_ms`: [since_ms, until_ms). A
    plan lists what ``oldest_ms`` excludes, `matches` drops it. ``partitions`` and ``offsets`` are
    those of the DLQ topic. ``paths``: as `DeadLetterRecord.path`, `NO_PATH` for "". ``places``: single dead letters; None: any. ``owner``: only dead letters
    that this tenant may see."""

    topics: tuple[str, ...] = ()
    since_ms: int | None = None
    until_ms: int | None = None
    oldest_ms: int | None = None
    errors: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    agents: tuple[str, ...] = ()
    tenants: tuple[str, ...] = ()
    keys: tuple[bytes, ...] = ()
    partitions: tuple[int, ...] = ()
    offsets: tuple[OffsetRange, ...] = ()
    schema_versions: tuple[int, ...] = ()
    places: frozenset[QueuePlace] | None = None
    owner: str | None = None
    limit: int | None = None

    def narrow(self, spans: Iterable[OffsetSpan]) -> list[OffsetSpan]:
        """The spans that can hold a match."""
        found = []
        for span in spans:
            if self.partitions and span.tp.partition not in self.partitions:
                continue
            start, end = span.start, span.end
            if self.offsets:
                start = max(start, min(wanted.first for wanted in self.offsets))
                end = min(end, max(wanted.last for wanted in self.offsets) + 1)
            if self.places is not None:
                mine = [one.offset for one in self.places if one.partition == span.tp.partition]
                start, end = max(start, min(mine, default=end)), min(end, max(mine, default=-1) + 1)
            if start < end:
                found.append(OffsetSpan(span.tp, start, end))
        return found

    def matches(self, letter: DeadLetterRecord) -> bool:
        return self.selects(letter) and not self.too_old(letter)

    def selects(self, letter: DeadLetterRecord) -> bool:
        """Every condition but ``limit`` and ``oldest_ms``."""
        return (
            self._lies_right(letter)
            and self._failed_then(letter)
            and (not self.keys or letter.key in self.keys)
            and (not self.errors or letter.error_code in self.errors)
            and (not self.paths or (letter.path or NO_PATH) in self.paths)
            and (not self.agents or letter.agent in self.agents)
            and (not self.schema_versions or letter.schema_version in self.schema_versions)
            and (not self.tenants or letter.tenant in self.tenants)
            and (self.owner is None or belongs(letter, letter.value, self.owner))
        )

    def too_old(self, letter: DeadLetterRecord) -> bool:
        return self.oldest_ms is not None and letter.failed_ms < self.oldest_ms

    def select(self, letters: Sequence[DeadLetterRecord]) -> list[DeadLetterRecord]:
        return [letter for letter in letters if self.matches(letter)]

    def _lies_right(self, letter: DeadLetterRecord) -> bool:
        if self.partitions and letter.dlq.partition not in self.partitions:
            return False
        if self.topics and not {letter.topic, letter.dlq.topic} & {*self.topics}:
            return False
        at = letter.offset
        if self.places is not None and (letter.dlq.partition, at) not in self.places:
            return False
        return not self.offsets or any(wanted.first <= at <= wanted.last for wanted in self.offsets)

    def _failed_then(self, letter: DeadLetterRecord) -> bool:
        if self.since_ms is None and self.until_ms is None:
            return True
        at = letter.failed_ms
        return (self.since_ms is None or at >= self.since_ms) and (
            self.until_ms is None or at < self.until_ms
        )
