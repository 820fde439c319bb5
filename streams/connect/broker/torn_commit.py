"""A transaction that Kafka carried out in part: what is written down against it, and how it is read.

A transaction is atomic only while its coordinators agree. A coordinator that dies before its
decision to commit is replicated, and is back before its session ends, acts on that decision: it
writes commit markers to the partitions that it reaches. Its successor never had the decision, and
aborts the transaction everywhere else (seen on three brokers of Kafka 4.1). So a group may hold the
offset of a transaction whose records are aborted.

 T1  the metadata of an offset names where a record of the same transaction landed
 T2  a reader of the offset first starts the transaction's producer anew. That returns once every
     earlier transaction of it has ended in each partition that it wrote to
 T3  where that record is there, and aborted, the offset is wrong: the transaction is not true, and
     its work is done again
 T4  where there is no such record, T3 does not hold: the record was trimmed, or the log lost it

The client was answered nothing that T3 contradicts: a coordinator answers what is replicated.
The opposite, records that stand without their offset, is for each user of an offset to see.

What this cannot mend: a transaction whose records stand in one partition and are aborted in another.
Where the named record is aborted, doing the work again writes the others twice; where it stands, the
others are lost: dead letters, outputs and results of agents, replayed events. `dia audit --deep`
compares dead letters with the ledger; nothing compares the others.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from streams.connect.broker.log_range import require_moved
from streams.core.errors import BatchUnreadable, BrokerUnavailable
from streams.core.types import CommittedOffset, LogReader, OffsetOutOfRange, TopicPartition

_LANDING = re.compile(r"from=(\d{1,18}) at=(\d{1,18})")


class Landing(NamedTuple):
    """T1, where one record stands for the transaction: the number with which its work begins, and the
    offset of that record."""

    first: int
    at: int

    @classmethod
    def of(cls, committed: CommittedOffset) -> Landing | None:
        """What the metadata says; None where it says something else."""
        found = _LANDING.fullmatch(committed.metadata)
        return cls(int(found[1]), int(found[2])) if found else None

    def __str__(self) -> str:
        return f"from={self.first} at={self.at}"


async def aborted_at(reader: LogReader, tp: TopicPartition, offset: int) -> bytes | None:
    """The value of the record at ``offset`` where its transaction was aborted; None where a committed
    record, a marker or nothing is there.

    Raises `BrokerUnavailable` where the log cannot be read, or a transaction is open at ``offset``.
    """
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
    # A leader that is not up to date answers with nothing, which says nothing.
    for batch in (written, committed):
        require_moved(batch, offset, end)
    if offset not in written.offsets or offset in committed.offsets:
        return None
    return written.values[0] or b""
