"""A4: whether the source still is the log that a partition's state was built from.

The last consumed record is compared, by offset and append time, with what the log holds there.
That is done when a partition opens, and while it runs before anything is folded that may be of
another log: Kafka deletes what a new leader lacks (an unclean election, a lost disk), a topic may
be deleted and created again, and a consumer whose position lies inside the new log goes on in
silence. A list is suspected (runtime/restore/source_watch.py) when

- its first batch was appended under another leader epoch than the last batch folded: a log that
  lost its end goes on under a new one, and batches carry theirs;
- the broker refused to answer about the partition, or did not answer for some seconds, since the
  list before: a topic that is created again begins with leader epoch 0, as the old one may have;
- it is the first after a rebalance, or comes some seconds after the partition was opened.

So a steady partition pays for two comparisons a list, and a change of leader for three requests.
"""

from __future__ import annotations

from typing import NamedTuple

import structlog

from streams.connect.broker.log_range import read_some
from streams.core.errors import BatchUnreadable, SourceTruncated, TopicRecreated
from streams.core.types import LogReader, OffsetOutOfRange, TopicPartition
from streams.engine.state.changelog import Link

SILENCE_MAX_S = 5.0
"""From A4 to the first list: as between two answers (streams/connect/broker/kafka/fetches.py)."""

log = structlog.get_logger(__name__)


class Reached(NamedTuple):
    """How far a source was consumed: the offset to read next, and place and append time of the
    last record read (-1: none)."""

    next_offset: int
    last_offset: int
    last_append_ms: int

    @classmethod
    def of(cls, link: Link) -> Reached:
        return cls(link.next_offset, link.last_offset, link.last_append_ms)


class Appended(NamedTuple):
    """The leader epoch under which the record at ``offset`` was appended; -1: not known."""

    offset: int = -1
    epoch: int = -1

    def epoch_at(self, offset: int) -> int:
        """Of the record at ``offset``: -1 for another one. An order to shed moves the last
        consumed record on, over records of leaders that this process did not read from."""
        return self.epoch if offset == self.offset else -1


async def check_source(
    tp: TopicPartition, reached: Reached, reader: LogReader, known_epoch: int = -1
) -> int:
    """The leader epoch of the last consumed record; -1 where the log does not have it any more.
    ``known_epoch`` is the one under which it was consumed, -1 where that is not known.

    Raises `TopicRecreated` or `SourceTruncated`, and `BrokerUnavailable` where the leader does not
    return what it says it holds; never resets in silence.
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
            f"{tp}: offsets {reached.next_offset} to {begin - 1} were never consumed and are gone "
            f"from the log. Give the topic more retention; to go on without them: "
            f"`dia tables reset --resume-at-start`."
        )
    if reached.next_offset > end:
        raise TopicRecreated(_recreated(tp, reached, f"the log ends at {end}"))
    return epoch


async def _check_last_record(
    tp: TopicPartition, reached: Reached, reader: LogReader, end: int
) -> int:
    """The last consumed record, while retained, must still be the one that was consumed."""
    if reached.last_offset >= end:
        raise TopicRecreated(_recreated(tp, reached, f"the log ends at {end}"))
    try:
        batch = await read_some(reader, tp, reached.last_offset, end, 1)
    except OffsetOutOfRange:
        return -1  # trimmed between the two calls: it can no longer tell us anything
    except BatchUnreadable as error:
        # It was read once, so its bytes changed where they lie; they cannot be compared.
        log.warning("last_record_unreadable", tp=str(tp), why=str(error))
        return -1
    found = list(zip(batch.offsets, batch.timestamps, strict=True))[:1]
    if found != [(reached.last_offset, reached.last_append_ms)]:
        why = f"offset {reached.last_offset} holds another record"
        raise TopicRecreated(_recreated(tp, reached, why))
    return batch.last_epoch


def _recreated(tp: TopicPartition, reached: Reached, why: str) -> str:
    return (
        f"{tp} is not the log this state was built from: {why}, the state was built up to "
        f"offset {reached.next_offset}. The topic was deleted and created again, or its leader "
        f"lost the end of the log. To go on with the log as it is: `dia tables reset`."
    )
