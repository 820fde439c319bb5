"""How large a record is for Kafka, at most: a broker refuses a larger one than ``max.message.bytes`` in every attempt, and
with it each commit that holds it."""

from __future__ import annotations

from typing import Final

from streams.core.types import Headers

FRAMING_BYTES: Final = 128
"""bound of Kafka's overhead for a single record: 61 bytes of batch header, then varints"""
_HEADER_FRAMING_BYTES: Final = 8


def size_bytes(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    """Upper bound of what the broker counts."""
    size = FRAMING_BYTES + len(key or b"") + len(value or b"")
    for name, content in headers:
        size += len(name.encode()) + len(content or b"") + _HEADER_FRAMING_BYTES
    return size
