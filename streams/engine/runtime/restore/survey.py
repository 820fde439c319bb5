"""Reads a whole changelog for facts about its partition, without building state.

Unlike a restore it continues after a fault: it looks for the last complete commit and the link that
opened the last epoch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from streams.connect.broker.log_range import behind, read_some
from streams.core.errors import (
    BatchUnreadable,
    BrokerUnavailable,
    ChangelogGap,
    ChangelogLost,
    PartitionStopped,
)
from streams.core.types import LogReader, OffsetOutOfRange, RecordBatch, TopicPartition
from streams.engine.engine_tables import OUTBOX
from streams.engine.runtime.restore.restore import follows, hole, unreadable
from streams.engine.state.changelog import Link, entry_bytes, unpack
from streams.engine.state.table import Entry

_ATTEMPTS = 5
_READ_RECORDS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """``last`` is the link of the last complete commit; None for an empty log."""

    changelog: TopicPartition
    begin_offset: int
    end_offset: int
    last: Link | None
    written_ms: int
    """broker timestamp of the last complete commit"""
    reset_offset: int | None
    """the link that opened the last epoch; None if trimmed"""
    live_bytes: int
    written_bytes: int
    """`Link.written_bytes` of the next link"""
    log_bytes: int
    """entry bytes of the whole log, dead entries included"""
    owed: Mapping[bytes, bytes]
    """live outbox entries by changelog key"""
    wanted: Mapping[bytes, bytes]
    """live entries among the requested ones"""
    faults: Sequence[PartitionStopped]
    """breaks of the chain in the last epoch, in log order"""


async def survey(
    reader: LogReader,
    changelog: TopicPartition,
    wanted: AbstractSet[bytes] = frozenset(),
    tables: tuple[bytes, ...] = (),
) -> Survey:
    """Read ``changelog`` from its start to its last stable offset. ``wanted``: entries to return
    besides the outbox, and those of tables with these prefixes.

    The owner of the partition may trim the log meanwhile: then again from its new start. Raises
    `BrokerUnavailable` where that happens `_ATTEMPTS` times, `UnknownFormat` for commits of a newer
    version, and errors of the reader.
    """
    for _ in range(_ATTEMPTS):
        try:
            return await _surveyed(reader, changelog, _Walk(changelog, wanted, tables))
        except OffsetOutOfRange:
            continue
    raise BrokerUnavailable(
        f"{changelog} was trimmed {_ATTEMPTS} times while it was read. Try again."
    )


async def _surveyed(reader: LogReader, changelog: TopicPartition, walk: _Walk) -> Survey:
    """Raises `OffsetOutOfRange` where the log is trimmed past what is read next."""
    begin = await reader.beginning_offset(changelog)
    end = await reader.last_stable_offset(changelog)
    offset = begin
    while offset < end:
        try:
            batch = await read_some(reader, changelog, offset, end, _READ_RECORDS)
        except BatchUnreadable as error:
            offset = behind(error, end)
            walk.past(error, offset)
        else:
            walk.over(batch)
            offset = batch.end
    return walk.found(begin, offset)


@dataclass(slots=True)
class _Walk:
    changelog: TopicPartition
    wanted: AbstractSet[bytes]
    tables: tuple[bytes, ...]
    last: Link | None = None
    written_ms: int = 0
    reset_offset: int | None = None
    faults: list[PartitionStopped] = field(default_factory=list)
    written_bytes: int = 0
    log_bytes: int = 0
    _live: dict[bytes, int] = field(default_factory=dict)
    _owed: dict[bytes, bytes] = field(default_factory=dict)
    _wanted: dict[bytes, bytes] = field(default_factory=dict)
    _parts: list[Entry] = field(default_factory=list)
    _expected: int = 0

    def over(self, batch: RecordBatch) -> None:
        rows = zip(batch.offsets, batch.timestamps, batch.values, strict=True)
        for offset, written_ms, value in rows:
            try:
                link, entries = unpack(value or b"")
            except ChangelogGap as error:
                self._fault(f"{self.changelog} offset {offset}: {error}")
                continue
            self._part(offset, link, entries)
            if self._expected == link.parts:
                self._complete(link, written_ms)

    def past(self, error: BatchUnreadable, until: int) -> None:
        self._fault(unreadable(self.changelog, error, until))
        self._parts, self._expected = [], 0

    def _part(self, offset: int, link: Link, entries: list[Entry]) -> None:
        if link.part == 0:
            if self._expected:
                self._fault(f"{self.changelog} has a torn commit before offset {offset}.")
            self._parts, self._expected = [], 0
            self._begin(offset, link)
        elif link.part != self._expected:
            self._fault(
                f"{self.changelog} has part {link.part} at offset {offset} instead of part "
                f"{self._expected}."
            )
            self._parts, self._expected = [], link.part
        self._parts += entries
        self._expected += 1

    def _begin(self, offset: int, link: Link) -> None:
        last = self.last
        if link.reset and (last is None or follows(last, link)):
            self.reset_offset = offset
            self.faults.clear()
            self._live.clear()
            self._owed.clear()
            self._wanted.clear()
        elif last is not None and not follows(last, link):
            self._fault(hole(self.changelog, offset, last, link))

    def _complete(self, link: Link, written_ms: int) -> None:
        self.written_bytes = link.written_bytes
        for key, value in self._parts:
            size = entry_bytes(key, value)
            self.log_bytes += size
            self.written_bytes += size
            if value is None:
                self._live.pop(key, None)
                self._owed.pop(key, None)
                self._wanted.pop(key, None)
                continue
            self._live[key] = size
            if key.startswith(OUTBOX.prefix):
                self._owed[key] = value
            elif key in self.wanted or key.startswith(self.tables):
                self._wanted[key] = value
        self.last, self.written_ms = link, written_ms
        self._parts, self._expected = [], 0

    def _fault(self, text: str) -> None:
        self.faults.append(ChangelogGap(text))

    def found(self, begin: int, end: int) -> Survey:
        if self._expected:
            self._fault(f"{self.changelog} ends inside a commit.")
        if self.last is not None and begin > self.last.base_offset:
            self.faults.append(
                ChangelogLost(
                    f"{self.changelog} begins at offset {begin}, but entries from "
                    f"{self.last.base_offset} on are still live."
                )
            )
        return Survey(
            changelog=self.changelog,
            begin_offset=begin,
            end_offset=end,
            last=self.last,
            written_ms=self.written_ms,
            reset_offset=self.reset_offset,
            live_bytes=sum(self._live.values()),
            written_bytes=self.written_bytes,
            log_bytes=self.log_bytes,
            owed=self._owed,
            wanted=self._wanted,
            faults=self.faults,
        )
