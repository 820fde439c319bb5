"""Reading a known part of a log to its end.

One read may return less than was asked for, or nothing at all: a leader that just changed, a
quota or a slow disk of the broker are enough. So an empty batch is never the end of a log. The
end is an offset that the broker named before; these functions reach it or raise.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import structlog

from streams.core.clock import Clock
from streams.core.errors import BatchUnreadable, BrokerUnavailable, DiaError
from streams.core.types import LogReader, RecordBatch, TopicPartition

READ_RECORDS = 5000
DECIDED_TIMEOUT_S = 60.0
"""Longer than a broker lets a transaction of a dead producer stay open."""
DECIDED_POLL_S = 0.1

log = structlog.get_logger(__name__)


async def read_range(
    reader: LogReader, tp: TopicPartition, start: int, end: int, max_records: int = READ_RECORDS
) -> AsyncIterator[RecordBatch]:
    """Consecutive batches from offset ``start`` until one ends at or behind ``end``.

    ``end`` is at most the last stable offset of ``tp``. The last batch may hold records behind it.
    Raises `BrokerUnavailable` where the log stops short of ``end``, and as `LogReader.read`.
    """
    at = start
    while at < end:
        batch = await read_some(reader, tp, at, end, max_records)
        at = batch.end
        yield batch


def behind(error: BatchUnreadable, end: int) -> int:
    """Where to go on behind a batch that cannot be opened, in a log that is read up to ``end``.

    A damaged header may name an end far beyond the log's: then it is the next offset.
    """
    return error.until if error.offset < error.until <= end else error.offset + 1


async def decided_end(reader: LogReader, tp: TopicPartition, clock: Clock) -> int:
    """The last stable offset of ``tp`` once every transaction that is open there now has ended.

    A commit returns before its marker is in each partition, and after a leader dies that takes
    seconds: until then readers do not see a record that other parties count already. Waits up to
    `DECIDED_TIMEOUT_S`; raises `BrokerUnavailable` where a transaction stays open, and as
    `LogReader`.
    """
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
    """Wait until readers of ``tp`` see what was just committed there, so that the next command reads
    what this one wrote. The commit stands even where the broker does not let this be waited for: then
    a warning is logged, and nothing is raised.
    """
    try:
        await decided_end(reader, tp, clock)
    except DiaError as error:
        log.warning("commit_visible_late", tp=str(tp), code=error.code, why=str(error))


async def read_some(
    reader: LogReader, tp: TopicPartition, at: int, end: int, max_records: int = READ_RECORDS
) -> RecordBatch:
    """One batch from offset ``at`` on, which is below the known ``end``: it moves at least by one
    offset.

    Raises as `read_range`.
    """
    batch = await reader.read(tp, at, max_records)
    require_moved(batch, at, end)
    return batch


def require_moved(batch: RecordBatch, at: int, end: int) -> None:
    """Raises `BrokerUnavailable` where ``batch``, read from offset ``at`` on, does not move, although
    the log is known to go on until ``end``."""
    if batch.end <= at:
        raise BrokerUnavailable(
            f"{batch.tp} returns nothing from offset {at} on, although it was stable up to {end}: its "
            f"leader is not up to date. Try again; `dia doctor` checks the broker."
        )
