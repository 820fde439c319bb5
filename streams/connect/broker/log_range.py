"""Reads a log to a known end.

A read may return nothing after a change of leader, under a quota or from a slow disk, so an empty
batch is never the end. These functions read to an offset that the broker returned before, or
raise."""

from __future__ import annotations

from collections.abc import AsyncIterator

import structlog

from streams.core.clock import Clock
from streams.core.errors import BatchUnreadable, BrokerUnavailable, DiaError
from streams.core.types import LogReader, RecordBatch, TopicPartition

READ_RECORDS = 5000
DECIDED_TIMEOUT_S = 60.0
"""longer than a broker keeps a dead producer's transaction open"""
DECIDED_POLL_S = 0.1

log = structlog.get_logger(__name__)


async def read_range(
    reader: LogReader, tp: TopicPartition, start: int, end: int, max_records: int = READ_RECORDS
) -> AsyncIterator[RecordBatch]:
    """Consecutive batches from ``start`` until one reaches ``end``, at most the last stable offset;
    the last may hold records behind it.

    Raises `BrokerUnavailable` where the log stops short of ``end``, and as `LogReader.read`."""
    at = start
    while at < end:
        batch = await read_some(reader, tp, at, end, max_records)
        at = batch.end
        yield batch


def behind(error: BatchUnreadable, end: int) -> int:
    """The offset to read next. A damaged header may name an end beyond the log's: then the next
    offset."""
    return error.until if error.offset < error.until <= end else error.offset + 1


async def decided_end(reader: LogReader, tp: TopicPartition, clock: Clock) -> int:
    """The last stable offset once every transaction open at the call has ended: a commit returns
    before its markers are written.

    Waits up to `DECIDED_TIMEOUT_S`, then raises `BrokerUnavailable`. Raises as `LogReader`."""
    written = await reader.high_watermark(tp)
    deadline_s = clock.monotonic() + DECIDED_TIMEOUT_S
    while (stable := await reader.last_stable_offset(tp)) < written:
        if clock.monotonic() >= deadline_s:
            raise BrokerUnavailable(
                f"{tp} has a transaction that stays open at offset {stable}: what lies behind it "
                f"cannot be read yet. Try again; `kafka-transactions.sh find-hanging` names it."
            )
        await clock.sleep(DECIDED_POLL_S)
    return stable


async def until_readable(reader: LogReader, tp: TopicPartition, clock: Clock) -> None:
    """Wait until readers see a commit, so that the next command reads it. Logs a warning instead of
    raising: the commit stands."""
    try:
        await decided_end(reader, tp, clock)
    except DiaError as error:
        log.warning("commit_visible_late", tp=str(tp), code=error.code, why=str(error))


async def read_some(
    reader: LogReader, tp: TopicPartition, at: int, end: int, max_records: int = READ_RECORDS
) -> RecordBatch:
    """Below the known ``end``; moves by at least one offset. Raises as `read_range`."""
    batch = await reader.read(tp, at, max_records)
    require_moved(batch, at, end)
    return batch


def require_moved(batch: RecordBatch, at: int, end: int) -> None:
    """Raise `BrokerUnavailable` where ``batch``, read at ``at``, does not move although the log
    extends to ``end``."""
    if batch.end <= at:
        raise BrokerUnavailable(
            f"{batch.tp} returns nothing from offset {at} on, although it was stable up to {end}: its "
            f"leader is not up to date. Try again; `dia doctor` checks the broker."
        )
