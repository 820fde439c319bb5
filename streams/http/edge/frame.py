"""How blocks lie in a segment file: frames, each with its length and a checksum.

A frame is ``magic | length | checksum | payload``. One frame is one write and one fsync, so a crash
leaves at most one broken frame, the last. The checksum is keyed by the spool's own random seed:
nobody can post an event that holds what looks like a frame.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

import xxhash

_HEADER = struct.Struct("<4sIQ")
_MAGIC = b"DSP1"
HEADER_BYTES = _HEADER.size


class Frame(NamedTuple):
    """A whole frame: its payload, and where the next one begins."""

    payload: bytes
    end: int


def encode(payload: bytes, seed: int) -> bytes:
    """The bytes of one frame."""
    return _HEADER.pack(_MAGIC, len(payload), xxhash.xxh3_64_intdigest(payload, seed)) + payload


def payload_bytes(header: bytes) -> int:
    """The length that a header names; 0 when it is cut short."""
    return int(_HEADER.unpack(header)[1]) if len(header) == HEADER_BYTES else 0


def at(data: bytes, offset: int, seed: int) -> Frame | None:
    """The frame that begins at ``offset``; None when no whole one does."""
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
    """The whole frames from the beginning on, up to the first that is none."""
    offset = 0
    while (found := at(data, offset, seed)) is not None:
        yield found
        offset = found.end


def any_after(data: bytes, offset: int, seed: int) -> bool:
    """Whether a whole frame begins anywhere behind ``offset``: what lies there is then no torn
    end but damage to something that was complete."""
    while (offset := data.find(_MAGIC, offset + 1)) >= 0:
        if at(data, offset, seed) is not None:
            return True
    return False
