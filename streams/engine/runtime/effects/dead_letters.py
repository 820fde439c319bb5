"""A refused record as a dead letter in `<topic>.dlq`.

Key, value, headers and timestamp are the original ones; ``dia.dlq.*`` headers follow, in place of
those of an earlier failure. A record too large for the DLQ becomes a pointer: place, size and hash;
the value stays in the source topic. Most records of a quarantined tenant stay there, too
(runtime/poison/quarantine.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from operator import itemgetter
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from streams.core.process.version import app_version
from streams.core.records import headers
from streams.core.records.record_size import size_bytes
from streams.core.topics.topic import DLQ_MESSAGE_BYTES
from streams.core.types import Headers, OutboundRecord, RecordBatch, TopicPartition

MESSAGE_MAX_BYTES: Final = 2048
COMPACT_MESSAGE_MAX_BYTES: Final = 120
POINTER_KEY_MAX_BYTES: Final = 4096

Row: TypeAlias = dict[str, Any]


class Origin(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The failed record.

    ``dlq`` has the same partition number, so a replay keeps the order of a key. ``id`` is unique
    for ever: as a reset may read other records at the same offsets, it names the epoch from 1 on.
    """

    tp: TopicPartition
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    dlq: TopicPartition
    id: str

    @classmethod
    def of(cls, batch: RecordBatch, position: int, epoch: int) -> Origin:
        tp, offset = batch.tp, batch.offsets[position]
        return cls(
            tp=tp,
            offset=offset,
            timestamp_ms=batch.timestamps[position],
            key=batch.keys[position],
            value=batch.values[position],
            headers=batch.headers[position],
            dlq=_dlq(tp),
            id=f"{tp.topic}/{tp.partition}/{offset}" + (f"/e{epoch}" if epoch else ""),
        )

    @property
    def hops(self) -> int:
        return headers.hops(self.headers)


@lru_cache(maxsize=4096)
def _dlq(tp: TopicPartition) -> TopicPartition:
    return TopicPartition(f"{tp.topic}.dlq", tp.partition)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """``code`` and ``stage`` have few values: metrics use them as labels."""

    code: str
    message: str
    stage: str
    agent: str
    group: str
    attempts: int
    first_failed_ms: int


class DeadLetter(NamedTuple):
    """A record for the DLQ and a row for ClickHouse's `dead_letters`."""

    record: OutboundRecord
    row: Row
    pointer: bool
    """the value is only in the source topic, until its retention deletes it"""


def dead_letter(
    origin: Origin, failure: Failure, tenant: str = "", *, compact: bool = False
) -> DeadLetter:
    """``tenant``: "" if unknown. ``compact``: a pointer whatever the record's size."""
    message = _shorten(failure.message, COMPACT_MESSAGE_MAX_BYTES if compact else MESSAGE_MAX_BYTES)
    provenance = _provenance(origin, failure, message)
    record = OutboundRecord(
        origin.dlq, origin.key, origin.value, _own(origin) + provenance, origin.timestamp_ms
    )
    pointer = compact or size_bytes(record.key, record.value, record.headers) > DLQ_MESSAGE_BYTES
    if pointer:
        record = _pointer(origin, provenance)
    row = {
        "id": origin.id,
        "topic": origin.tp.topic,
        "part": origin.tp.partition,
        "off": origin.offset,
        "ts": origin.timestamp_ms,
        "error_code": failure.code,
        "error_message": message,
        "stage": failure.stage,
        "agent": failure.agent,
        "tenant": tenant,
        "hops": origin.hops,
        "disposition": "",
        "actor": "",
        "ver": 1,
        "at": failure.first_failed_ms,
    }
    return DeadLetter(record, row, pointer)


def columns(rows: Sequence[Row]) -> dict[str, list[Any]]:
    return {name: list(map(itemgetter(name), rows)) for name in (rows[0] if rows else ())}


def _own(origin: Origin) -> Headers:
    """The record's headers without those of an earlier dead letter or of the parking topic."""
    return tuple(
        pair
        for pair in origin.headers
        if pair[0] != headers.REPLAY_PARKED_FOR and not pair[0].startswith(headers.DLQ_PREFIX)
    )


def _provenance(origin: Origin, failure: Failure, message: str) -> Headers:
    fields = {
        "id": origin.id,
        "topic": origin.tp.topic,
        "partition": origin.tp.partition,
        "offset": origin.offset,
        "timestamp": origin.timestamp_ms,
        "key_present": str(origin.key is not None).lower(),
        "error_code": failure.code,
        "error_message": message,
        "stage": failure.stage,
        "agent": failure.agent,
        "group": failure.group,
        "attempts": failure.attempts,
        "first_failed_at": failure.first_failed_ms,
        "app_version": app_version(),
        "replay_hops": origin.hops,
    }
    return _encoded(fields)


def _encoded(fields: dict[str, Any]) -> Headers:
    return tuple((headers.DLQ_PREFIX + name, str(value).encode()) for name, value in fields.items())


def _pointer(origin: Origin, provenance: Headers) -> OutboundRecord:
    """Without headers and value: a replay reads them from the source topic."""
    value = origin.value or b""
    key = origin.key
    if key is not None and len(key) > POINTER_KEY_MAX_BYTES:
        key = None
    pointer = _encoded(
        {"pointer": "true", "value_bytes": len(value), "value_sha256": sha256(value).hexdigest()}
    )
    return OutboundRecord(origin.dlq, key, None, provenance + pointer, origin.timestamp_ms)


def _shorten(message: str, max_bytes: int) -> str:
    raw = message.encode(errors="replace")
    return raw[:max_bytes].decode(errors="ignore")
