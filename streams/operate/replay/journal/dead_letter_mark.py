"""Checks that a DLQ partition still holds the dead letters of its journal.

A recreated DLQ, or one that lost its end, holds other records at the offsets in its journal. So
each entry has a *mark*: offset and timestamp of its last dead letter. The newest mark must be in
the log before anything is decided, planned or listed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
import structlog

from streams.connect.broker.log_range import read_some
from streams.core.errors import BatchUnreadable, TopicRecreated
from streams.core.types import LogReader, OffsetOutOfRange, TopicPartition
from streams.operate.dlq.dead_letter import DeadLetterRecord

log = structlog.get_logger(__name__)


class DeadLetterMark(msgspec.Struct, frozen=True, array_like=True):
    offset: int
    timestamp_ms: int


def mark_of(letters: Sequence[DeadLetterRecord]) -> DeadLetterMark:
    """The mark of the last of ``letters``, all of one partition in offset order."""
    return DeadLetterMark(letters[-1].offset, letters[-1].timestamp_ms)


async def check_mark(reader: LogReader, dlq: TopicPartition, mark: DeadLetterMark | None) -> None:
    """Raises `TopicRecreated` when the log holds another record in that place, and the errors of
    the reader."""
    if mark is not None:
        await _found(reader, dlq, mark)


async def kept_below(
    reader: LogReader, dlq: TopicPartition, marks: Iterable[DeadLetterMark]
) -> int:
    """The offset below which the log is the one of ``marks``; 0 for another log.

    One mark found confirms all before. Dead letters between it and a lost end look like new
    ones."""
    for mark in sorted(marks, key=lambda mark: mark.offset, reverse=True):
        try:
            if await _found(reader, dlq, mark):
                return mark.offset + 1
        except TopicRecreated:
            continue
    return 0


async def _found(reader: LogReader, dlq: TopicPartition, mark: DeadLetterMark) -> bool:
    """False proves nothing: retention deleted the mark, or its batch is unreadable. Raises as
    `check_mark`."""
    if await reader.beginning_offset(dlq) > mark.offset:
        return False
    end = await reader.last_stable_offset(dlq)
    if mark.offset >= end:
        raise _recreated(dlq, mark, f"it ends at {end}")
    try:
        batch = await read_some(reader, dlq, mark.offset, end, 1)
    except OffsetOutOfRange:
        return False  # deleted by retention meanwhile
    except BatchUnreadable as error:
        # It was readable once: its bytes changed on disk.
        log.warning("dead_letter_mark_unreadable", tp=str(dlq), why=str(error))
        return False
    found = [*zip(batch.offsets, batch.timestamps, strict=True)][:1]
    if found != [(mark.offset, mark.timestamp_ms)]:
        raise _recreated(dlq, mark, "another record lies there")
    return True


def _recreated(dlq: TopicPartition, mark: DeadLetterMark, why: str) -> TopicRecreated:
    return TopicRecreated(
        f"{dlq} is not the log that its journal speaks of: a letter at offset {mark.offset} was "
        f"decided on, and {why}. Nothing was decided now. If the topic was deleted and made again: "
        f"`dia dlq renew --topic {dlq.topic.removesuffix('.dlq')}`."
    )
