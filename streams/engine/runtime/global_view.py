"""A global table in one process (docs/protocols/stream_agents.md).

 Z1  read each changelog of the writing agent to its end
 Z2  apply later commits, each as a whole
 Z3  read a log again from its start if it does not continue where it was left

Live entries are appended again before a log is trimmed, so a log from its start is the whole state.
After a source grew, a key may be in its old and in its new partition: the partition that the key
belongs to wins.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import structlog

from streams.connect.broker.log_range import read_range
from streams.connect.broker.opened import opened
from streams.connect.broker.partitioner import partition_of
from streams.core.clock import Clock
from streams.core.errors import (
    BatchUnreadable,
    DiaError,
    GlobalTablePending,
    PartitionStopped,
    UnknownTopic,
)
from streams.core.types import Broker, LogReader, OffsetOutOfRange, RecordBatch, TopicPartition
from streams.engine.runtime.restore.restore import follows
from streams.engine.state.changelog import Link, unpack
from streams.engine.state.keyed import KeyedTable
from streams.engine.state.table import Entry
from streams.engine.state.table_values import Key, record_key
from streams.engine.streams.global_table import GlobalTable

FOLLOW_S: Final = 0.5
SAME_PARTITIONS_S: Final = 60.0
AGAIN_S: Final = 2.0

log = structlog.get_logger(__name__)


class _LogReplacedError(Exception):
    """The changelog does not continue: it lost its end, or was created again."""


class _Part:
    def __init__(self, table: GlobalTable, offset: int) -> None:
        self.content: KeyedTable = table.empty()
        self.offset = offset
        self._table = table
        self._pending: list[Entry] = []
        self._last: Link | None = None
        """the last part of a commit that was read"""
        self.short_end = -1
        """a log end below ``offset`` behind which nothing new was found"""

    def apply(self, batch: RecordBatch, *, anew: bool) -> None:
        """Apply ``batch``. ``anew``: the log is read from its start, without checks against earlier
        links.

        Raises `_LogReplacedError`.
        """
        for link, entries in [unpack(value or b"") for value in batch.values]:
            if not anew and self._last is not None and not _goes_on(self._last, link):
                raise _LogReplacedError
            self._apply(link, entries)
            self._last = link
        self.offset = batch.end

    def has_all_of(self, other: _Part) -> bool:
        """Whether ``other``, read from the log's start, ends in this part's chain."""
        last, end = self._last, other._last
        if last is None or end is None:
            return end is None
        same = (last.epoch, last.secret) == (end.epoch, end.secret)
        return same and end.seq <= last.seq

    def _apply(self, link: Link, entries: list[Entry]) -> None:
        if link.part == 0:
            self._pending = []
            if link.reset:
                self.content = self._table.empty()
        prefix = self._table.spec.prefix
        self._pending += [
            (key[len(prefix) :], body) for key, body in entries if key.startswith(prefix)
        ]
        if link.part == link.parts - 1:
            self.content.follow(self._pending)
            self._pending = []


def _goes_on(last: Link, link: Link) -> bool:
    """Whether the commit part ``link`` may follow the part ``last``."""
    if link.part == 0:
        return last.part == last.parts - 1 and follows(last, link)
    return (link.epoch, link.seq, link.part) == (last.epoch, last.seq, last.part + 1)


class GlobalView:
    """Also the `Whole` of its table."""

    def __init__(self, table: GlobalTable, broker: Broker, clock: Clock) -> None:
        self._table = table
        self._broker = broker
        self._clock = clock
        self._parts: dict[TopicPartition, _Part] = {}
        self._read_once = asyncio.Event()

    def connect(self) -> None:
        self._table.whole = self

    async def run(self) -> None:
        while True:
            try:
                await self._follow()
            except (DiaError, OffsetOutOfRange) as error:
                log.warning("global_table_deferred", table=self._table.name, why=str(error))
                await self._clock.sleep(AGAIN_S)

    async def _follow(self) -> None:
        """For `SAME_PARTITIONS_S`, as the topic may grow."""
        writer = self._table.writer
        assert writer is not None, "a view is made for a table that an agent writes"
        logs = await self._logs(writer.source.changelog(writer.group))
        reader = await self._broker.reader()
        until_s = self._clock.monotonic() + SAME_PARTITIONS_S
        try:
            while self._clock.monotonic() < until_s:
                await self._catch_up(reader, logs)
                self._read_once.set()
                await self._clock.sleep(FOLLOW_S)
        finally:
            await reader.close()

    async def _catch_up(self, reader: LogReader, logs: Sequence[TopicPartition]) -> None:
        for tp, bounds in (await reader.bounds(logs)).items():
            part = self._parts.get(tp)
            if part is not None and bounds.begin <= part.offset <= bounds.stable_end:
                try:
                    await self._read(reader, tp, part, bounds.stable_end, anew=False)
                    continue
                except _LogReplacedError:
                    log.warning("global_table_reread", table=self._table.name, tp=str(tp))
            if part is not None and part.short_end == bounds.stable_end:
                continue
            fresh = _Part(self._table, bounds.begin)
            await self._read(reader, tp, fresh, bounds.stable_end, anew=True)
            if part is not None and bounds.stable_end < part.offset and part.has_all_of(fresh):
                part.short_end = bounds.stable_end
            else:
                self._parts[tp] = fresh

    async def _logs(self, changelog: str) -> list[TopicPartition]:
        async with opened(self._broker.admin()) as admin:
            found = (await admin.describe_topics()).get(changelog)
        if found is None:
            raise UnknownTopic(f"topic {changelog} does not exist. Run `dia topics apply`.")
        return [TopicPartition(changelog, number) for number in range(found.partitions)]

    async def _read(
        self, reader: LogReader, tp: TopicPartition, part: _Part, end: int, *, anew: bool
    ) -> None:
        """Raises `PartitionStopped` for an unreadable batch, and `_LogReplacedError`."""
        try:
            async for batch in read_range(reader, tp, part.offset, end):
                part.apply(batch, anew=anew)
        except BatchUnreadable as error:
            raise PartitionStopped(str(error)) from error

    # --- Whole -------------------------------------------------------------------------------

    def require_whole(self) -> None:
        if not self._read_once.is_set():
            raise GlobalTablePending(
                f"global table {self._table.name!r} is being read from its changelogs", self._ready
            )

    async def _ready(self) -> None:
        await self._read_once.wait()

    def __getitem__(self, key: Key) -> Any:
        holders = [tp for tp, part in self._parts.items() if part.content.keeps(key)]
        if not holders:
            return self._table.empty().kept(key)
        number = partition_of(record_key(key), len(self._parts)) if len(holders) > 1 else -1
        held_by = next((tp for tp in holders if tp.partition == number), holders[0])
        return self._parts[held_by].content.kept(key)

    def __contains__(self, key: object) -> bool:
        return any(part.content.keeps(key) for part in self._parts.values())

    def keys(self) -> list[Key]:
        parts = self._parts.values()
        return [*dict.fromkeys(key for part in parts for key in part.content.kept_keys())]
