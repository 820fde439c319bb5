"""The records that a decision sends: a replayed dead letter, or its copy for the parking lot.

A replayed record has the failed key and value, perhaps repaired, the headers that the plan allows,
and ``dia.replay.*``."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import lru_cache

from streams.connect.broker.partitioner import partition_of
from streams.core.records import headers
from streams.core.records.bad_records import KeyMisplaced
from streams.core.topics.topic import Topic
from streams.core.types import Headers, OutboundRecord, TopicPartition
from streams.operate.dlq.dead_letter import DeadLetterRecord, Original

_OURS = (headers.DLQ_PREFIX, headers.REPLAY_PREFIX)


def first_append_ms(letter: DeadLetterRecord) -> int:
    """The append time of the record before any replay."""
    replayed = headers.decimal(letter.fields.get(headers.REPLAY_APPEND_TS))
    return letter.source_timestamp_ms if replayed is None else replayed


def allowed(found: Headers, patterns: Sequence[str]) -> Headers:
    """The headers whose name matches a pattern; never ``dia.dlq.*`` or ``dia.replay.*``."""
    return tuple([pair for pair in found if _is_allowed(pair[0], tuple(patterns))])


@lru_cache(maxsize=1000)
def _is_allowed(name: str, patterns: tuple[str, ...]) -> bool:
    return not name.startswith(_OURS) and any(fnmatchcase(name, p) for p in patterns)


def replay_headers(letter: DeadLetterRecord, plan: str) -> Headers:
    return (
        (headers.REPLAY_HOPS, b"%d" % (letter.hops + 1)),
        (headers.REPLAY_APPEND_TS, b"%d" % first_append_ms(letter)),
        (headers.REPLAY_PLAN, plan.encode()),
        (headers.REPLAY_ID, letter.id.encode()),
    )


def outgoing(
    letter: DeadLetterRecord, record: Original, target: str, partitions: int, plan: str
) -> OutboundRecord:
    """``record`` for ``target``: for its original partition, which keeps the order of its key,
    unless key or topic changed, or that partition was the defect."""
    partition = letter.partition
    if letter.error_code == KeyMisplaced.code:
        partition = None
    if target != letter.topic or record.key != letter.key or partition is None:
        partition = letter.dlq.partition if record.key is None else None
    if partition is None or partition >= partitions:
        key = record.key if record.key is not None else b""
        partition = partition_of(key, partitions)
    return OutboundRecord(
        TopicPartition(target, partition),
        record.key,
        record.value,
        (*record.headers, *replay_headers(letter, plan)),
    )


def parked_record(source: Topic, letter: DeadLetterRecord, reason: str) -> OutboundRecord:
    """The dead letter as in the DLQ, with the reason of parking."""
    why = (headers.REPLAY_PARKED_FOR, reason.encode())
    return OutboundRecord(
        TopicPartition(source.parked, letter.dlq.partition),
        letter.key,
        letter.value,
        (*letter.headers, why),
        letter.timestamp_ms,
    )
