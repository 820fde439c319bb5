"""Decompresses a batch into at most a given number of bytes.

A batch of 1 MiB may expand to gigabytes, and brokers store it unopened. Each codec here stops at
the bound:

| codec  | how it stops                                                             |
|--------|--------------------------------------------------------------------------|
| gzip   | zlib returns a bounded number of bytes per call                          |
| snappy | the decoder allocates each block's declared length and never exceeds it  |
| lz4    | decodes into a small array; into one of the bound's size if that is full |
| zstd   | as lz4                                                                   |

Checksums and frame ends are checked by the same libraries as in aiokafka."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import Any, Final

import cramjam
import numpy as np
from aiokafka.errors import CorruptRecordException
from numpy.typing import NDArray

BATCH_BYTES_MAX: Final = 32 << 20
"""default of `DIA_BATCH_MAX_BYTES`"""

HEADER_BYTES: Final = 61
_LENGTH_AT = 8
_LENGTH_COUNTS_FROM = 12
_ATTRIBUTES_AT = 21
_CODEC_MASK = 0x07
_XERIAL = b"\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01"
_BLOCK = struct.Struct(">i")
_GZIP_MEMBERS = 16 + zlib.MAX_WBITS
_ROOM_TIMES = 8
"""events as JSON shrink to a third or a quarter"""


class TooManyBytes(CorruptRecordException):  # type: ignore[misc]  # aiokafka is untyped
    def __init__(self, bytes_max: int) -> None:
        super().__init__(
            f"it holds more than DIA_BATCH_MAX_BYTES={bytes_max} bytes when it is opened"
        )


class Room:
    """Memory that batches are opened into, one after the other: new pages and a copy for each cost as much as
    decoding it. Serves one thread at a time."""

    __slots__ = ("_bytes",)

    def __init__(self) -> None:
        self._bytes = np.empty(0, np.uint8)

    def of(self, size: int) -> NDArray[np.uint8]:
        if len(self._bytes) < size:
            self._bytes = np.empty(size, np.uint8)
        return self._bytes[:size]


def uncompressed(batch: bytes, bytes_max: int, padding: int = 0) -> bytes:
    """With ``padding`` zeros behind it. Otherwise unchanged without a codec or with an unknown one.
    Raises `TooManyBytes`, and the codec's errors."""
    attributes = _attributes(batch)
    decode = _DECODERS.get(attributes & _CODEC_MASK)
    if decode is None:
        return batch + bytes(padding)
    records = decode(memoryview(batch)[HEADER_BYTES:], bytes_max, Room())
    header = bytearray(batch[:HEADER_BYTES])
    struct.pack_into(">h", header, _ATTRIBUTES_AT, attributes & ~_CODEC_MASK)
    length = HEADER_BYTES - _LENGTH_COUNTS_FROM + len(records)
    struct.pack_into(">i", header, _LENGTH_AT, length)
    return b"".join((header, records, bytes(padding)))


def opened_records(batch: memoryview, bytes_max: int, room: Room) -> NDArray[np.uint8] | None:
    """The uncompressed bytes of the records, until the next use of ``room``; None with an unknown codec.
    Raises as `uncompressed`."""
    codec, records = _attributes(batch) & _CODEC_MASK, batch[HEADER_BYTES:]
    decode = _DECODERS.get(codec)
    if codec and decode is None:
        return None
    return np.frombuffer(records if decode is None else decode(records, bytes_max, room), np.uint8)


def _attributes(batch: bytes | memoryview) -> int:
    attributes: int = struct.unpack_from(">h", batch, _ATTRIBUTES_AT)[0]
    return attributes


def _gzip(data: memoryview, bytes_max: int, _: Room) -> bytes:
    members: list[bytes] = []
    rest, left = bytes(data), bytes_max
    while rest.strip(b"\0") or not members:
        member = zlib.decompressobj(_GZIP_MEMBERS)
        members.append(member.decompress(rest, left + 1))
        left -= len(members[-1])
        if left < 0:
            raise TooManyBytes(bytes_max)
        if not member.eof:
            raise EOFError("the compressed data ends before its end-of-stream marker")
        rest = member.unused_data
    return b"".join(members)


def _snappy(data: memoryview, bytes_max: int, _: Room) -> bytes:
    raw = bytes(data)
    if not raw.startswith(_XERIAL):
        return _snappy_block(raw, bytes_max, bytes_max)
    blocks: list[bytes] = []
    at, left = len(_XERIAL), bytes_max
    while at < len(raw):
        (size,) = _BLOCK.unpack_from(raw, at)
        at += _BLOCK.size
        if not 0 < size <= len(raw) - at:
            raise CorruptRecordException(f"a block of {size} bytes is cut short")
        blocks.append(_snappy_block(raw[at : at + size], left, bytes_max))
        left -= len(blocks[-1])
        at += size
    return b"".join(blocks)


def _snappy_block(block: bytes, left: int, bytes_max: int) -> bytes:
    if cramjam.snappy.decompress_raw_len(block) > left:
        raise TooManyBytes(bytes_max)
    return bytes(cramjam.snappy.decompress_raw(block))


def _framed(
    decode_into: Callable[[Any, Any], int],
) -> Callable[[memoryview, int, Room], memoryview]:
    def decode(data: memoryview, bytes_max: int, memory: Room) -> memoryview:
        packed = np.frombuffer(data, np.uint8)
        # One byte more than allowed: a full array has overflowed.
        for size in (min(_ROOM_TIMES * len(packed), bytes_max + 1), bytes_max + 1):
            room = memory.of(size)
            try:
                written = decode_into(packed, room)
            except cramjam.DecompressionError as error:
                if "whole buffer" not in str(error):
                    raise
            else:
                if written < size:
                    return room[:written].data
        raise TooManyBytes(bytes_max)

    return decode


_DECODERS: Final[dict[int, Callable[[memoryview, int, Room], bytes | memoryview]]] = {
    1: _gzip,
    2: _snappy,
    3: _framed(cramjam.lz4.decompress_into),
    4: _framed(cramjam.zstd.decompress_into),
}
