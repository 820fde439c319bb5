"""Finds offsets by append time, which rises with the offset."""

from __future__ import annotations

from streams.connect.broker.log_range import behind, read_some
from streams.core.errors import BatchUnreadable
from streams.core.types import LogReader, TopicPartition

_LOOK_BACK = (1, 8, 64, 512, 4096)
"""Offsets before a given one from which `last_record` reads. Only transaction markers lie between
records."""


async def appended_ms(reader: LogReader, tp: TopicPartition, offset: int, end: int) -> int | None:
    """Of the first readable record in [offset, end), or None. Raises `OffsetOutOfRange`, and as
    `read_some`."""
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
    """Lowest offset in [low, high] from which on no record was appended before ``ms``."""
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
    """Of [low, end); None where the last 4096 offsets hold no record."""
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
