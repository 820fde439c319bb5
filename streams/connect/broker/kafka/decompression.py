"""Opening a compressed batch without believing how large it says it is.

A batch of one MiB may hold gigabytes, and brokers store it unopened. Each codec here writes at most
a given number of bytes and stops there, so that a batch costs a reader its bound and no more:

| codec  | how it stops                                                                      |
|--------|-----------------------------------------------------------------------------------|
| gzip   | zlib gives at most so many bytes a call                                           |
| snappy | each block begins with its length, which the decoder allocates and never exceeds  |
| lz4    | decoded into an array of the bound's size, of which only what is written is touched |
| zstd   | as lz4                                                                            |

The result is the batch uncompressed, which aiokafka reads as any other. The checks of its own decoders
(checksums, ends of frames) are those of the same libraries.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import Any, Final

import cramjam
import numpy as np
from aiokafka.errors import CorruptRecordException

BATCH_BYTES_MAX: Final = 32 << 20
"""Unless `DIA_BATCH_MAX_BYTES` says otherwise."""

HEADER_BYTES: Final = 61
_LENGTH_AT = 8
_LENGTH_COUNTS_FROM = 12
_ATTRIBUTES_AT = 21
_CODEC_MASK = 0x07
_XERIAL = b"\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01"
_BLOCK = struct.Struct(">i")
_GZIP_MEMBERS = 16 + zlib.MAX_WBITS


class TooManyBytes(CorruptRecordException):  # type: ignore[misc]  # aiokafka is untyped
    """A batch holds more than it may."""

    def __init__(self, bytes_max: int) -> None:
        super().__init__(
            f"it holds more than DIA_BATCH_MAX_BYTES={bytes_max} bytes when it is opened"
        )


def uncompressed(batch: bytes, bytes_max: int) -> bytes:
    """A whole batch with its records as they were before its codec.

    One of no codec, or of one that does not exist, is given back as it is. Raises `TooManyBytes`,
    and whatever the codec raises for what it cannot read.
    """
    (attributes,) = struct.unpack_from(">h", batch, _ATTRIBUTES_AT)
    decode = _DECODERS.get(attributes & _CODEC_MASK)
    if decode is None:
        return batch
    records = decode(memoryview(batch)[HEADER_BYTES:], bytes_max)
    header = bytearray(batch[:HEADER_BYTES])
    struct.pack_into(">h", header, _ATTRIBUTES_AT, attributes & ~_CODEC_MASK)
    length = HEADER_BYTES - _LENGTH_COUNTS_FROM + len(records)
    struct.pack_into(">i", header, _LENGTH_AT, length)
    return b"".join((header, records))


def _gzip(data: memoryview, bytes_max: int) -> bytes:
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


def _snappy(data: memoryview, bytes_max: int) -> bytes:
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


def _framed(decode_into: Callable[[Any, Any], int]) -> Callable[[memoryview, int], bytes]:
    def decode(data: memoryview, bytes_max: int) -> bytes:
        # One byte more than may be written: an array that is full has overflowed.
        room = np.empty(bytes_max + 1, np.uint8)
        try:
            written = decode_into(bytes(data), room)
        except cramjam.DecompressionError as error:
            if "whole buffer" in str(error):
                raise TooManyBytes(bytes_max) from error
            raise
        if written > bytes_max:
            raise TooManyBytes(bytes_max)
        return room[:written].tobytes()

    return decode


_DECODERS: Final[dict[int, Callable[[memoryview, int], bytes]]] = {
    1: _gzip,
    2: _snappy,
    3: _framed(cramjam.lz4.decompress_into),
    4: _framed(cramjam.zstd.decompress_into),
}
