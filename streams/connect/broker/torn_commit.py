"""Detects a transaction that Kafka carried out in part (docs/protocols/kafka_answers.md).

T1  the metadata of an offset names where a record of the same transaction landed
T2  a reader of the offset first starts the transaction's producer anew, which returns once every
    earlier transaction of the producer has ended in each of its partitions
T3  where that record is there and aborted, the offset is wrong: its work is done again
T4  where there is no such record, T3 does not apply: the record was trimmed, or the log lost it"""

from __future__ import annotations

import re
from typing import NamedTuple

from streams.connect.broker.log_range import require_moved
from streams.core.errors import BatchUnreadable, BrokerUnavailable
from streams.core.types import CommittedOffset, LogReader, OffsetOutOfRange, TopicPartition

_LANDING = re.compile(r"from=(\d{1,18}) at=(\d{1,18})")


class Landing(NamedTuple):
    """T1: the number with which the transaction's work begins, and the record's offset."""

    first: int
    at: int

    @classmethod
    def of(cls, committed: CommittedOffset) -> Landing | None:
        """None for metadata of another form."""
        found = _LANDING.fullmatch(committed.metadata)
        return cls(int(found[1]), int(found[2])) if found else None

    def __str__(self) -> str:
        return f"from={self.first} at={self.at}"


async def aborted_at(reader: LogReader, tp: TopicPartition, offset: int) -> bytes | None:
    """The record's value where its transaction was aborted, else None. Raises `BrokerUnavailable`
    where the log cannot be read, or a transaction is open at ``offset``."""
    end = await reader.high_watermark(tp)
    if offset >= end:
        return None
    if await reader.last_stable_offset(tp) <= offset:
        raise BrokerUnavailable(
            f"{tp} has an open transaction at offset {offset}: whether it stands is not decided. "
            f"Try again; `kafka-transactions.sh find-hanging` names it."
        )
    try:
        written = await reader.read_all(tp, offset, 1)
        committed = await reader.read(tp, offset, 1)
    except (OffsetOutOfRange, BatchUnreadable):
        return None
    # A stale leader answers with no records, which proves nothing.
    for batch in (written, committed):
        require_moved(batch, offset, end)
    if offset not in written.offsets or offset in committed.offsets:
        return None
    return written.values[0] or b""
