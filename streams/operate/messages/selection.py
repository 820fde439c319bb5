"""Reads the messages that a filter selects from a topic: the newest, those of a range, new ones."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from streams.core.clock import Clock
from streams.core.errors import UnknownTopic
from streams.core.topics.topology import Topology
from streams.core.types import Admin, LogReader, RecordBatch, TopicPartition
from streams.engine.decode.codecs import Limits
from streams.operate.messages.following import follow
from streams.operate.messages.message import TopicMessage, messages_of, source_of
from streams.operate.messages.message_filter import MessageFilter
from streams.operate.messages.newest import NewestMessages
from streams.operate.trace.log_scan import EVER, LogScan, SearchedRange, TimeBounds, ranges

OFFSETS_MAX = 1_000_000
"""Offsets that a look for the newest messages reads at most."""


@dataclass(slots=True)
class TopicMessages:
    """``partition``, ``first`` and ``until``: only these offsets of one partition, or of all. ``late``:
    the time, ``full``: the number of messages ended the reading."""

    topic: str
    filter: MessageFilter
    topology: Topology
    limits: Limits
    clock: Clock
    reader: LogReader
    times: TimeBounds = EVER
    partition: int | None = None
    first: int | None = None
    until: int | None = None
    searched: list[SearchedRange] = field(default_factory=list)
    late: bool = False
    full: bool = False

    async def ranges(self, admin: Admin) -> list[SearchedRange]:
        """The offsets that may hold selected messages. Raises `UnknownTopic`."""
        present = await admin.describe_topics()
        if self.topic not in present:
            raise UnknownTopic(
                f"topic {self.topic} does not exist. `dia topics list --all` lists what does."
            )
        source = source_of(self.topic, self.topology)
        count = present[self.topic].partitions
        wanted = self.filter.partitions(self.topic, count, source)
        if self.partition is not None:
            if self.partition >= count:
                raise UnknownTopic(f"{self.topic} has partitions 0 to {count - 1}.")
            wanted = [tp for tp in wanted if tp.partition == self.partition]
        self.searched = await ranges(self.reader, wanted, self.times)
        for one in self.searched:
            one.start = one.reached = max(one.start, self.first or 0)
            if self.until is not None:
                one.end = min(one.end, self.until)
        return self.searched

    async def newest(
        self, found: list[SearchedRange], count: int, deadline_s: float
    ) -> list[TopicMessage]:
        """Newest first. ``deadline_s`` as in `LogScan`."""
        reading = NewestMessages(
            self.reader, self.clock, count, OFFSETS_MAX, deadline_s, self._select
        )
        messages = await reading.read(found)
        self.late = reading.late
        return messages

    async def search(
        self,
        found: list[SearchedRange],
        count: int,
        deadline_s: float,
        take: Callable[[list[TopicMessage]], None],
        progress: Callable[[int], None],
    ) -> None:
        """Give the first ``count`` messages of the ranges to ``take``, each partition in the order
        of its offsets. Batches without the bytes that the filter knows are not decoded."""
        scan = LogScan(self.reader, self.clock, deadline_s, progress)
        given = 0

        async def select(batch: RecordBatch) -> None:
            nonlocal given
            chosen = (await self._select(batch))[: count - given]
            given += len(chosen)
            if given >= count:
                scan.stopped = True
            if chosen:
                take(chosen)

        await scan.search(found, self.filter.needles, select)
        self.full = scan.stopped
        self.late = scan.late and not scan.stopped

    def follow(
        self, found: list[SearchedRange], unreadable: Callable[[TopicPartition, int, int], None]
    ) -> AsyncIterator[list[TopicMessage]]:
        """Messages behind the ranges, as they come; ``unreadable`` as in `follow`."""
        starts: dict[TopicPartition, int] = {one.tp: one.end for one in found}
        return follow(self.reader, self.clock, starts, self._select, unreadable)

    async def _select(self, batch: RecordBatch) -> list[TopicMessage]:
        return self.filter.select(await messages_of(batch, self.topology, self.limits))
