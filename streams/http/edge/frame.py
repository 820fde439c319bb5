"""The frames of a segment file: ``magic | length | checksum | payload``.

One frame is one write and one fsync, so a crash breaks at most the last. The checksum is keyed by
the spool's random seed: no event can imitate a frame."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

import xxhash

_HEADER = struct.Struct("<4sIQ")
_MAGIC = b"DSP1"
HEADER_BYTES = _HEADER.size


class Frame(NamedTuple):
    """``end``: the offset of the next frame."""

    payload: bytes
    end: int


def encode(payload: bytes, seed: int) -> bytes:
    return _HEADER.pack(_MAGIC, len(payload), xxhash.xxh3_64_intdigest(payload, seed)) + payload


def payload_bytes(header: bytes) -> int:
    """0 for an incomplete header."""
    return int(_HEADER.unpack(header)[1]) if len(header) == HEADER_BYTES else 0


def at(data: bytes, offset: int, seed: int) -> Frame | None:
    """None unless the frame is complete."""
    start = offset + HEADER_BYTES
    if start > len(data):
        return None
    magic, length, checksum = _HEADER.unpack_from(data, offset)
    payload = data[start : start + length]
    if magic != _MAGIC or len(payload) < length:
        return None
    if xxhash.xxh3_64_intdigest(payload, seed) != checksum:
        return None
    return Frame(payload, start + length)


def walk(data: bytes, seed: int) -> Iterator[Frame]:
    """The complete frames from the start, up to the first broken one."""
    offset = 0
    while (found := at(data, offset, seed)) is not None:
        yield found
        offset = found.end


def any_after(data: bytes, offset: int, seed: int) -> bool:
    """Whether a complete frame begins after ``offset``: then the bytes there are damage, not a torn
    end."""
    while (offset := data.find(_MAGIC, offset + 1)) >= 0:
        if at(data, offset, seed) is not None:
            return True
    return False
