"""A4: check that the source is the log that the partition's state was built from.

The log must hold the last consumed record with the same append time. This is checked when a
partition opens, and before a suspected list is folded (docs/protocols/commit.md). A steady
partition pays for two comparisons a list, a change of leader for three requests.
"""

from __future__ import annotations

from typing import NamedTuple

import structlog

from streams.connect.broker.log_range import read_some
from streams.core.errors import BatchUnreadable, SourceTruncated, TopicRecreated
from streams.core.types import LogReader, OffsetOutOfRange, TopicPartition
from streams.engine.state.changelog import Link

SILENCE_MAX_S = 5.0
"""from A4 to the first list; the same between two answers
(streams/connect/broker/kafka/batches/fetches.py)"""

log = structlog.get_logger(__name__)


class Reached(NamedTuple):
    """The offset to read next, and offset and append time of the last record read (-1: none)."""

    next_offset: int
    last_offset: int
    last_append_ms: int

    @classmethod
    def of(cls, link: Link) -> Reached:
        return cls(link.next_offset, link.last_offset, link.last_append_ms)


class Appended(NamedTuple):
    """The leader epoch under which the record at ``offset`` was appended; -1: unknown."""

    offset: int = -1
    epoch: int = -1

    def epoch_at(self, offset: int) -> int:
        """-1 for another record: a shed order moves the last consumed record past records of
        leaders that this process did not read from."""
        return self.epoch if offset == self.offset else -1


async def check_source(
    tp: TopicPartition, reached: Reached, reader: LogReader, known_epoch: int = -1
) -> int:
    """Check the source; the leader epoch of the last consumed record, -1 if the log no longer has
    it.

    ``known_epoch``: the epoch under which it was consumed, -1: unknown. Raises `TopicRecreated`,
    `SourceTruncated`, and `BrokerUnavailable` if the leader does not return what it claims to hold.
    """
    begin = await reader.beginning_offset(tp)
    end = await reader.last_stable_offset(tp)
    epoch = -1
    if reached.last_offset >= max(begin, 0):
        epoch = await _check_last_record(tp, reached, reader, end)
        if known_epoch >= 0 <= epoch != known_epoch:
            why = f"offset {reached.last_offset} was appended by another leader"
            raise TopicRecreated(_recreated(tp, reached, why))
    if reached.next_offset < begin:
        raise SourceTruncated(
            f"{tp}: offsets {reached.next_offset} to {begin - 1} were not consumed and are no "
            "longer in the log. Give the topic more retention; to continue without them: `dia "
            "tables reset --resume-at-start`."
        )
    if reached.next_offset > end:
        raise TopicRecreated(_recreated(tp, reached, f"the log ends at {end}"))
    return epoch


async def _check_last_record(
    tp: TopicPartition, reached: Reached, reader: LogReader, end: int
) -> int:
    if reached.last_offset >= end:
        raise TopicRecreated(_recreated(tp, reached, f"the log ends at {end}"))
    try:
        batch = await read_some(reader, tp, reached.last_offset, end, 1)
    except OffsetOutOfRange:
        return -1  # trimmed between the two calls
    except BatchUnreadable as error:
        # The bytes changed after they were consumed; no comparison is possible.
        log.warning("last_record_unreadable", tp=str(tp), why=str(error))
        return -1
    found = list(zip(batch.offsets, batch.timestamps, strict=True))[:1]
    if found != [(reached.last_offset, reached.last_append_ms)]:
        why = f"offset {reached.last_offset} holds another record"
        raise TopicRecreated(_recreated(tp, reached, why))
    return batch.last_epoch


def _recreated(tp: TopicPartition, reached: Reached, why: str) -> str:
    return (
        f"{tp} is not the log that its state was built from: {why}; the state reaches offset "
        f"{reached.next_offset}. The topic was deleted and created again, or its leader lost the "
        "end of the log. To continue with this log: `dia tables reset`."
    )
