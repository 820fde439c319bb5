"""Searches ranges of logs for bytes, within a deadline, and reports what was searched.

Ranges are fixed before the search, so it ends while the log grows. Some partitions are searched at
once: while the bytes of one are opened, the answers of others are on their way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

from streams.connect.broker.log_range import behind, require_moved
from streams.core.clock import Clock
from streams.core.errors import BatchUnreadable
from streams.core.types import LogReader, OffsetOutOfRange, RecordBatch, TopicPartition

AT_ONCE = 4
"""partitions"""

Take: TypeAlias = Callable[[RecordBatch], Awaitable[None]]
"""Receives the records that contain the bytes, in the order of a partition's offsets."""


class TimeBounds(NamedTuple):
    """Append times in milliseconds since the epoch: ``since_ms`` inclusive, ``until_ms`` exclusive;
    None: the start or the end of the log."""

    since_ms: int | None = None
    until_ms: int | None = None


EVER: Final = TimeBounds()


@dataclass(slots=True)
class SearchedRange:
    """The offsets of one partition to search, from ``start`` to ``end`` (exclusive), of a log that
    holds ``log_begin`` to ``log_end``. ``reached``: all below it is searched for ``needles``.
    ``unreadable``: (first, one past the last) of batches that cannot be opened."""

    tp: TopicPartition
    log_begin: int
    log_end: int
    start: int
    end: int
    reached: int = 0
    unreadable: list[tuple[int, int]] = field(default_factory=list)
    trimmed: bool = False
    """retention deleted records of the range during the search"""
    needles: frozenset[bytes] = frozenset()

    def __post_init__(self) -> None:
        self.reached = self.start

    @property
    def offsets(self) -> int:
        """Offsets searched, transaction markers included."""
        return max(0, self.reached - self.start)

    @property
    def whole(self) -> bool:
        """Whether every record of the range was searched."""
        return self.reached >= self.end and not self.unreadable and not self.trimmed


async def ranges(
    reader: LogReader, partitions: Iterable[TopicPartition], times: TimeBounds = EVER
) -> list[SearchedRange]:
    """The ranges that hold every record of the times, up to the last stable offsets. Raises as
    `LogReader`."""
    asked = list(partitions)
    bounds = await reader.bounds(asked)
    starts = {tp: bound.begin for tp, bound in bounds.items()}
    ends = {tp: bound.stable_end for tp, bound in bounds.items()}
    if times.since_ms is not None:
        starts = await reader.offsets_since(asked, times.since_ms)
    if times.until_ms is not None:
        until = await reader.offsets_since(asked, times.until_ms)
        ends = {tp: min(end, until[tp]) for tp, end in ends.items()}
    return [
        SearchedRange(tp, *bounds[tp], max(starts[tp], bounds[tp].begin), ends[tp]) for tp in asked
    ]


@dataclass(slots=True)
class LogScan:
    """``deadline_s`` is a time of the clock's `monotonic`. ``stopped``: the caller has enough;
    ``late``: the deadline has passed. ``progress`` receives offsets as they are searched."""

    reader: LogReader
    clock: Clock
    deadline_s: float
    progress: Callable[[int], None] = lambda offsets: None
    stopped: bool = False
    searched: list[SearchedRange] = field(default_factory=list)

    @property
    def late(self) -> bool:
        return self.clock.monotonic() >= self.deadline_s

    async def search(
        self, wanted: Sequence[SearchedRange], needles: Sequence[bytes], take: Take
    ) -> None:
        """Search the ranges and record them in ``searched``. Raises as `LogReader`."""
        self.searched += wanted
        for found in wanted:
            found.needles = frozenset(needles)
        free = asyncio.Semaphore(AT_ONCE)

        async def one(found: SearchedRange) -> None:
            async with free:
                await self._one(found, needles, take)

        tasks = [asyncio.create_task(one(found)) for found in wanted]
        try:
            # A group of tasks would wrap the reader's error.
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _one(self, found: SearchedRange, needles: Sequence[bytes], take: Take) -> None:
        while found.reached < found.end and not self.stopped and not self.late:
            at = found.reached
            try:
                batch = await self.reader.search(found.tp, at, needles)
            except BatchUnreadable as error:
                found.reached = min(behind(error, found.end), found.end)
                found.unreadable.append((at, found.reached))
                continue
            except OffsetOutOfRange:
                begin = await self.reader.beginning_offset(found.tp)
                if begin <= at:
                    raise
                found.trimmed, found.reached = True, min(begin, found.end)
                continue
            require_moved(batch, at, found.end)
            if len(batch) and batch.offsets[-1] >= found.end:
                kept = [row for row, offset in enumerate(batch.offsets) if offset < found.end]
                batch = batch.take(kept)
            if len(batch):
                await take(batch)
            found.reached = min(batch.end, found.end)
            self.progress(found.reached - at)
