"""Finding places in a log by append time, which rises with offsets."""

from __future__ import annotations

from streams.errors import BatchUnreadable
from streams.types import LogReader, TopicPartition

_LOOK_BACK = (1, 8, 64, 512, 4096)
"""Offsets: how far before an offset its last record is looked for. Markers of transactions lie
between records; so many in a row are no log of events."""


async def appended_ms(reader: LogReader, tp: TopicPartition, offset: int) -> int | None:
    """Of the first record from ``offset`` on that can be read; None where the log ends.

    Raises `OffsetOutOfRange`, and what else `LogReader.read` raises.
    """
    while True:
        try:
            batch = await reader.read(tp, offset, 1)
        except BatchUnreadable as error:
            offset = error.until
        else:
            return batch.timestamps[0] if batch.timestamps else None


async def first_since(reader: LogReader, tp: TopicPartition, low: int, high: int, ms: int) -> int:
    """The lowest offset from ``low`` on, at most ``high``, from which on no record was appended
    before ``ms``. By bisection."""
    while low < high:
        middle = (low + high) // 2
        found_ms = await appended_ms(reader, tp, middle)
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
                batch = await reader.read(tp, at, back)
            except BatchUnreadable as error:
                at = error.until
                continue
            for place in zip(batch.offsets, batch.timestamps, strict=True):
                found = place if place[0] < end else found
            if batch.end == at:
                break
            at = batch.end
        if found is not None:
            return found
    return None
