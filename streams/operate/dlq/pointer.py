"""Fetches the value of a dead letter that was too large for its topic."""

from __future__ import annotations

from hashlib import sha256

from streams.connect.broker.log_range import read_some
from streams.core.errors import BatchUnreadable, RecordLost, UnknownTopic
from streams.core.types import LogReader, OffsetOutOfRange
from streams.operate.dlq.dead_letter import DeadLetterRecord, Original


async def refetch(reader: LogReader, letter: DeadLetterRecord) -> Original:
    """The failed record, read from its source topic and verified by its hash. Raises `RecordLost`
    and `BrokerUnavailable`."""
    pointer, tp, offset = letter.pointer, letter.source_tp, letter.source_offset
    if pointer is None or tp is None or offset is None:
        raise RecordLost(f"{letter.dlq}/{letter.offset} does not say where its record lies.")
    try:
        end = await reader.last_stable_offset(tp)
        batch = await read_some(reader, tp, offset, end, 1) if offset < end else None
    except (OffsetOutOfRange, UnknownTopic):
        batch = None
    except BatchUnreadable as error:
        raise RecordLost(
            f"{tp} holds offset {offset} in a batch that cannot be opened any more ({error.why}), and "
            f"the DLQ keeps only a pointer. `dia dlq discard` records that the record is gone."
        ) from error
    if batch is None or batch.offsets[:1] != [offset]:
        raise RecordLost(
            f"{tp} no longer holds offset {offset}: its retention has deleted the record, of which "
            f"the DLQ keeps only a pointer. `dia dlq discard` records that it is gone."
        )
    if sha256(batch.values[0] or b"").hexdigest() != pointer.value_sha256:
        raise RecordLost(
            f"{tp} holds another record at offset {offset} than the one that failed: the topic was "
            f"deleted and made again. `dia dlq discard` records that the record is gone."
        )
    return Original(batch.keys[0], batch.values[0], batch.headers[0], letter.source_timestamp_ms)
