"""Unpacks request bodies within a bound of bytes.

No more than the bound is written, whatever the input says."""

from __future__ import annotations

import zlib
from typing import Final

import cramjam

from streams.connect.access.refusals import BadRequest, BodyTooLarge, UnsupportedMedia

IDENTITY: Final = "identity"
GZIP: Final = "gzip"
SNAPPY: Final = "snappy"


def unpacked(body: bytes, encoding: str, bytes_max: int) -> bytes:
    """``encoding`` is a Content-Encoding. Raises `UnsupportedMedia`, `BodyTooLarge` for more than
    ``bytes_max``, and `BadRequest` for damaged bytes."""
    if encoding == IDENTITY:
        return body
    if encoding == GZIP:
        return _gunzipped(body, bytes_max)
    if encoding == SNAPPY:
        return _unsnapped(body, bytes_max)
    raise UnsupportedMedia(f"Content-Encoding {encoding!r:.40} is not one that is taken here")


def _gunzipped(body: bytes, bytes_max: int) -> bytes:
    """One member: a million empty ones would cost seconds."""
    opener = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        content = opener.decompress(body, bytes_max + 1)
    except zlib.error as error:
        raise BadRequest(f"the body is not gzip: {error}") from None
    if len(content) > bytes_max:
        raise _too_large(bytes_max)
    if not opener.eof or opener.unused_data:
        raise BadRequest("the body is not one whole member of gzip")
    return content


def _unsnapped(body: bytes, bytes_max: int) -> bytes:
    """Snappy's block format, whose first bytes are the size of the content."""
    try:
        if cramjam.snappy.decompress_raw_len(body) > bytes_max:
            raise _too_large(bytes_max)
        return bytes(cramjam.snappy.decompress_raw(body))
    except cramjam.DecompressionError as error:
        raise BadRequest(f"the body is no block of Snappy: {error}") from None


def _too_large(bytes_max: int) -> BodyTooLarge:
    return BodyTooLarge(f"a body takes at most {bytes_max} bytes unpacked; send smaller batches")
