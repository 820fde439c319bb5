"""Finding places in a log by append time, which rises with offsets."""

from __future__ import annotations

from streams.connect.broker.log_range import behind, read_some
from streams.core.errors import BatchUnreadable
from streams.core.types import LogReader, TopicPartition

_LOOK_BACK = (1, 8, 64, 512, 4096)
"""Offsets: how far before an offset its last record is looked for. Markers of transactions lie
between records; so many in a row are no log of events."""


async def appended_ms(reader: LogReader, tp: TopicPartition, offset: int, end: int) -> int | None:
    """Of the first record from ``offset`` on that can be read; None where none lies below ``end``,
    which is at most the last stable offset.

    Raises `OffsetOutOfRange`, and what else `read_some` raises.
    """
    while offset < end:
        try:
            batch = await read_some(reader, tp, offset, end, 1)
        except BatchUnreadable as error:
            offset = behind(error, end)
            continue
        if batch.offsets:
            return batch.timestamps[0] if batch.offsets[0] < end else None
        offset = batch.end
    return None


async def first_since(reader: LogReader, tp: TopicPartition, low: int, high: int, ms: int) -> int:
    """The lowest offset from ``low`` on, at most ``high``, from which on no record was appended
    before ``ms``. By bisection."""
    while low < high:
        middle = (low + high) // 2
        found_ms = await appended_ms(reader, tp, middle, high)
        if found_ms is not None and found_ms < ms:
            low = middle + 1
        else:
            high = middle
    return low


async def last_record(
    reader: LogReader, tp: TopicPartition, low: int, end: int
) -> tuple[int, int] | None:
    """Offset and append time of the last record in [``low``, ``end``); None where none is near
    the end of it."""
    for back in _LOOK_BACK:
        at, found = max(low, end - back), None
        while at < end:
            try:
                batch = await read_some(reader, tp, at, end, back)
            except BatchUnreadable as error:
                at = behind(error, end)
                continue
            for place in zip(batch.offsets, batch.timestamps, strict=True):
                found = place if place[0] < end else found
            at = batch.end
        if found is not None:
            return found
    return None
