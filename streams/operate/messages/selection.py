"""Reads the messages that a filter selects from a topic: the newest, those of a range, new ones."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from streams.connect.broker.log_range import behind, read_some
from streams.connect.broker.needles import containing
from streams.core.clock import Clock
from streams.core.errors import BatchUnreadable, UnknownTopic
from streams.core.topics.topology import Topology
from streams.core.types import LogReader, OffsetOutOfRange, RecordBatch, TopicConfig, TopicPartition
from streams.engine.decode.codecs import Limits
from streams.operate.messages.log_bound import LogBound
from streams.operate.messages.message import TopicMessage, messages_of, source_of
from streams.operate.messages.message_filter import MessageFilter
from streams.operate.messages.newest import PAGE_RECORDS, NewestMessages, Select
from streams.operate.trace.log_scan import LogScan, SearchedRange, TimeBounds, ranges

POLL_S = 0.5
READ_RECORDS = 1000


async def follow(
    reader: LogReader,
    clock: Clock,
    starts: Mapping[TopicPartition, int],
    select: Select,
    unreadable: Callable[[TopicPartition, int, int], None],
) -> AsyncIterator[list[TopicMessage]]:
    """Lists of selected messages from the given offsets on, for as long as they are asked for, none
    empty. Of a partition in the order of its offsets. What retention deletes first is passed over.
    ``unreadable`` receives the first offset of a batch that cannot be opened, and that behind it.

    Raises as `LogReader`.
    """
    at = dict(starts)
    while True:
        moved = False
        for tp, bounds in (await reader.bounds(at)).items():
            while at[tp] < bounds.stable_end:
                try:
                    batch = await read_some(reader, tp, at[tp], bounds.stable_end, READ_RECORDS)
                except BatchUnreadable as error:
                    first, at[tp] = at[tp], behind(error, bounds.stable_end)
                    unreadable(tp, first, at[tp])
                    continue
                except OffsetOutOfRange:
                    at[tp] = max(at[tp] + 1, await reader.beginning_offset(tp))
                    continue
                at[tp], moved = batch.end, True
                if found := await select(batch):
                    yield found
        if not moved:
            await clock.sleep(POLL_S)


OFFSETS_MAX = 1_000_000
"""Offsets that a look for the newest messages reads at most."""
WITHOUT: Final = LogBound()


@dataclass(slots=True)
class TopicMessages:
    """``start`` (inclusive) and ``until`` (exclusive) bound every partition, or only ``partition``.
    ``page_records``: records that are read and decoded between two turns of the event loop.
    ``late``: the time, ``full``: the number of messages ended the reading."""

    topic: str
    filter: MessageFilter
    topology: Topology
    limits: Limits
    clock: Clock
    reader: LogReader
    start: LogBound = WITHOUT
    until: LogBound = WITHOUT
    partition: int | None = None
    page_records: int = PAGE_RECORDS
    searched: list[SearchedRange] = field(default_factory=list)
    late: bool = False
    full: bool = False

    async def ranges(self, present: Mapping[str, TopicConfig]) -> list[SearchedRange]:
        """The offsets that may hold selected messages. ``present``: the broker's topics. Raises
        `UnknownTopic`."""
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
        times = TimeBounds(self.start.ms, self.until.ms)
        self.searched = await ranges(self.reader, wanted, times)
        for one in self.searched:
            one.start = one.reached = max(one.start, self.start.offset or 0)
            if self.until.offset is not None:
                one.end = min(one.end, self.until.offset)
        return self.searched

    async def newest(
        self, found: list[SearchedRange], count: int, deadline_s: float
    ) -> list[TopicMessage]:
        """Newest first. ``deadline_s`` as in `LogScan`."""
        reading = NewestMessages(
            reader=self.reader,
            clock=self.clock,
            count=count,
            offsets_max=OFFSETS_MAX,
            deadline_s=deadline_s,
            select=self.select,
            page_records=self.page_records,
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
            chosen = (await self.select(batch))[: count - given]
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
        return follow(self.reader, self.clock, starts, self.select, unreadable)

    async def select(self, batch: RecordBatch) -> list[TopicMessage]:
        """The selected messages of a batch. Only records with the bytes that the filter knows are
        decoded. Raises `SchemaRegistryUnavailable`."""
        possible = containing(batch, self.filter.needles)
        return self.filter.select(await messages_of(possible, self.topology, self.limits))
