"""Content-Encoding: bounded decompression of requests, streaming compression of replies."""

from __future__ import annotations

import sys
import zlib
from typing import Protocol, cast

import lz4.frame

from streams.dev.local.clickhouse_front.errors import (
    INCORRECT_DATA,
    QUERY_IS_TOO_LARGE,
    UNSUPPORTED_MEDIA_TYPE,
    StatementFailed,
)

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

REPLY_ENCODINGS = ("zstd", "lz4", "gzip")


class Compressor(Protocol):
    def compress(self, chunk: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


class _Opener(Protocol):
    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def _opener(encoding: str) -> _Opener:
    if encoding in {"gzip", "deflate"}:
        return zlib.decompressobj(zlib.MAX_WBITS | 32)
    if encoding == "lz4":
        return cast("_Opener", lz4.frame.LZ4FrameDecompressor())
    if encoding == "zstd":
        return zstd.ZstdDecompressor()
    raise StatementFailed(
        UNSUPPORTED_MEDIA_TYPE, f"Content-Encoding {encoding} is not one of gzip, lz4, zstd."
    )


def open_body(body: bytes, encoding: str, limit_bytes: int) -> bytes:
    """All frames, at most ``limit_bytes``."""
    if encoding in {"", "identity"} or not body:
        return body
    parts: list[bytes] = []
    size = 0
    while body:
        opener = _opener(encoding)
        try:
            part = opener.decompress(body, limit_bytes - size + 1)
        except (zlib.error, RuntimeError, zstd.ZstdError) as error:
            raise StatementFailed(INCORRECT_DATA, f"The {encoding} body is damaged.") from error
        size += len(part)
        parts.append(part)
        if size > limit_bytes:
            raise StatementFailed(
                QUERY_IS_TOO_LARGE, f"The body opens to more than {limit_bytes} bytes."
            )
        if not opener.eof:
            raise StatementFailed(INCORRECT_DATA, f"The {encoding} body is cut short.")
        body = opener.unused_data
    return parts[0] if len(parts) == 1 else b"".join(parts)


class _Lz4:
    """lz4's compressor writes its frame header separately."""

    def __init__(self) -> None:
        self._frame = lz4.frame.LZ4FrameCompressor()
        self._header: bytes = self._frame.begin()

    def compress(self, chunk: bytes) -> bytes:
        header, self._header = self._header, b""
        return header + bytes(self._frame.compress(chunk))

    def flush(self) -> bytes:
        return self._header + bytes(self._frame.flush())


def reply_encoding(accepted: str) -> str | None:
    """None for a plain reply."""
    names = {part.split(";")[0].strip() for part in accepted.split(",")}
    return next((name for name in REPLY_ENCODINGS if name in names), None)


def compressor(encoding: str) -> Compressor:
    if encoding == "gzip":
        return zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    return _Lz4() if encoding == "lz4" else zstd.ZstdCompressor(level=1)
