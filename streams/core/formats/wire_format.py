"""The wire format of values with a registered schema.

    byte 0        0, the magic byte
    bytes 1-4     schema id, big-endian
    then          Protobuf only: the message indexes
    then          the body

Message indexes are the path to a message within its file: their count, then each index, as zigzag
varints. ``[0]``, the first message, is the single byte 0.

https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

HEADER_BYTES: Final = 5
_HEADER: Final = struct.Struct(">bI")
_MAGIC: Final = 0
_INDEXES_MAX: Final = 100
"""Protobuf's own nesting limit"""
_VARINT_BYTES_MAX: Final = 5

read_header = _HEADER.unpack_from


def header(schema_id: int) -> bytes:
    return _HEADER.pack(_MAGIC, schema_id)


def schema_id(value: bytes | None) -> int | None:
    """None for another format."""
    if value is None or len(value) < HEADER_BYTES:
        return None
    magic, named = read_header(value)
    return named if magic == _MAGIC else None


def written_indexes(path: Sequence[int]) -> bytes:
    if list(path) == [0]:
        return b"\x00"
    return b"".join(map(_varint, (len(path), *path)))


def read_indexes(value: bytes, at: int) -> tuple[tuple[int, ...], int]:
    """The path at ``at``, and the start of the body. Raises `ValueError`."""
    count, at = _read_varint(value, at)
    if count == 0:
        return (0,), at
    if not 0 < count <= _INDEXES_MAX:
        raise ValueError(f"expected 1 to {_INDEXES_MAX} message indexes, got {count}")
    path = []
    for _ in range(count):
        index, at = _read_varint(value, at)
        if index < 0:
            raise ValueError(f"expected message indexes of 0 and more, got {index}")
        path.append(index)
    return tuple(path), at


def _varint(number: int) -> bytes:
    rest = number << 1
    written = bytearray()
    while rest > 0x7F:
        written.append(0x80 | rest & 0x7F)
        rest >>= 7
    written.append(rest)
    return bytes(written)


def _read_varint(value: bytes, at: int) -> tuple[int, int]:
    found = 0
    for place in range(_VARINT_BYTES_MAX):
        if at + place >= len(value):
            raise ValueError("the message indexes end too early")
        byte = value[at + place]
        found |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return (found >> 1) ^ -(found & 1), at + place + 1
    raise ValueError(f"a message index has more than {_VARINT_BYTES_MAX} bytes")
