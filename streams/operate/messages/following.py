"""New messages of some partitions, as they become readable."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping

from streams.connect.broker.log_range import behind, read_some
from streams.core.clock import Clock
from streams.core.errors import BatchUnreadable
from streams.core.types import LogReader, OffsetOutOfRange, TopicPartition
from streams.operate.messages.message import TopicMessage
from streams.operate.messages.newest import Select

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
