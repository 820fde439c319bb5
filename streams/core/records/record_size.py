"""How large a record is for Kafka, at most: a broker refuses a larger one than ``max.message.bytes`` in every attempt, and
with it each commit that holds it."""

from __future__ import annotations

from typing import Final

from streams.core.records.bad_records import ValueRefused
from streams.core.types import Headers, OutboundRecord

FRAMING_BYTES: Final = 128
"""bound of Kafka's overhead for a single record: 61 bytes of batch header, then varints"""
_HEADER_FRAMING_BYTES: Final = 8
_TIMESTAMPS_MS: Final = range(1 << 63)


def size_bytes(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    """Upper bound of what the broker counts."""
    size = FRAMING_BYTES + len(key or b"") + len(value or b"")
    for name, content in headers:
        size += len(name.encode()) + len(content or b"") + _HEADER_FRAMING_BYTES
    return size


def check_sendable(record: OutboundRecord, message_bytes: int) -> None:
    """Raises `ValueRefused` above ``message_bytes``, for a timestamp that no record has, and for a value
    that is no bytes."""
    if not isinstance(record.value, bytes | None):
        raise ValueRefused(
            f"a record for {record.tp.topic} has a value of type {type(record.value).__name__}: give "
            "bytes"
        )
    size = size_bytes(record.key, record.value, record.headers)
    if size > message_bytes:
        raise ValueRefused(
            f"a record for {record.tp.topic} has up to {size} bytes, and the topic holds records of "
            f"{message_bytes}. Send less, or declare the topic with a larger message_bytes."
        )
    if record.timestamp_ms is not None and record.timestamp_ms not in _TIMESTAMPS_MS:
        raise ValueRefused(
            f"a record for {record.tp.topic} has the timestamp {record.timestamp_ms} ms, which is before "
            "1970 or beyond 64 bits"
        )
