"""The parking lot `<topic>.dlq.parked`: dead letters set aside for manual review."""

from __future__ import annotations

from streams.core.records import headers
from streams.core.topics.topic import Topic
from streams.core.types import OutboundRecord, TopicPartition
from streams.operate.dlq.dead_letter import DeadLetterRecord


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
