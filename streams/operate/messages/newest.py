"""The newest messages of several partitions, read backwards in pieces.

A partition's timestamps rise with its offsets, so a piece older than all that is wanted ends the
reading. Where the producers set the timestamps (CreateTime), the order of the answer is that of the
pieces read.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from streams.connect.broker.log_range import behind, read_some
from streams.core.clock import Clock
from streams.core.errors import BatchUnreadable
from streams.core.types import LogReader, OffsetOutOfRange, RecordBatch
from streams.operate.messages.message import TopicMessage
from streams.operate.trace.log_scan import SearchedRange

PIECE_OFFSETS = 500
PAGE_RECORDS = 5000

Select = Callable[[RecordBatch], Awaitable[list[TopicMessage]]]
"""Decodes a batch and keeps what is wanted."""


@dataclass(slots=True)
class _Backwards:
    """``low``: all from it on is read. ``oldest_ms``: the least timestamp read; None: nothing yet."""

    range: SearchedRange
    low: int
    piece: int = PIECE_OFFSETS
    oldest_ms: int | None = None

    @property
    def over(self) -> bool:
        return self.low <= self.range.start


@dataclass(slots=True)
class NewestMessages:
    """At most ``count`` messages of the ranges, newest first. ``offsets_max``: offsets to read at most;
    ``late``: that, or the deadline (monotonic seconds), ended the reading. ``page_records``: records
    of one read."""

    reader: LogReader
    clock: Clock
    count: int
    offsets_max: int
    deadline_s: float
    select: Select
    page_records: int = PAGE_RECORDS
    offsets: int = 0
    late: bool = False

    async def read(self, ranges: list[SearchedRange]) -> list[TopicMessage]:
        """Enters in the ranges what cannot be opened, and what retention deletes meanwhile. Raises as
        `LogReader`."""
        sides = [_Backwards(one, one.end) for one in ranges if one.start < one.end]
        found: list[TopicMessage] = []
        while side := self._next(sides, found):
            if self.offsets >= self.offsets_max or self.clock.monotonic() >= self.deadline_s:
                self.late = True
                break
            found += await self._piece(side)
            found.sort(key=lambda one: (one.at_ms, one.offset), reverse=True)
            del found[self.count :]
        return found

    def _next(self, sides: list[_Backwards], found: list[TopicMessage]) -> _Backwards | None:
        """The partition whose unread part may hold the newest message; None: no part can."""
        unread = [one for one in sides if not one.over]
        if len(found) >= self.count:
            limit_ms = found[-1].at_ms
            unread = [one for one in unread if one.oldest_ms is None or one.oldest_ms >= limit_ms]
        fresh = [one for one in unread if one.oldest_ms is None]
        if fresh:
            return fresh[0]
        return max(unread, key=lambda one: one.oldest_ms or 0, default=None)

    async def _piece(self, side: _Backwards) -> list[TopicMessage]:
        """The messages of the next piece, which grows while pieces hold nothing."""
        tp, high = side.range.tp, side.low
        side.low = max(side.range.start, high - side.piece)
        side.piece = min(side.piece * 2, PIECE_OFFSETS * 64)
        self.offsets += high - side.low
        at = side.low
        found: list[TopicMessage] = []
        while at < high:
            try:
                batch = await read_some(
                    self.reader, tp, at, high, min(high - at, self.page_records)
                )
            except BatchUnreadable as error:
                until = min(behind(error, high), high)
                side.range.unreadable.append((at, until))
                at = until
                continue
            except OffsetOutOfRange:
                begin = await self.reader.beginning_offset(tp)
                if begin <= at:
                    raise
                at = side.low = side.range.start = min(begin, high)
                side.range.trimmed = True
                continue
            at = batch.end
            batch = batch.take([row for row, offset in enumerate(batch.offsets) if offset < high])
            if len(batch):
                oldest_ms = min(batch.timestamps)
                known_ms = side.oldest_ms
                side.oldest_ms = oldest_ms if known_ms is None else min(known_ms, oldest_ms)
                found += await self.select(batch)
        if side.oldest_ms is None:
            side.oldest_ms = 1 << 62
        return found
