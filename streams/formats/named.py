"""The codecs that a declaration names by a word."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from streams.errors import UsageError
from streams.formats.codec import Codec
from streams.formats.json_codec import JsonCodec
from streams.formats.msgpack_codec import MessagePackCodec
from streams.formats.raw_codec import RawCodec

JSON: Final[Codec] = JsonCodec()
_NAMED: Mapping[str, Codec] = {
    codec.name: codec for codec in (JSON, MessagePackCodec(), RawCodec())
}


def codec_of(named: str | Codec) -> Codec:
    """The codec of a name, or the given one. Raises `UsageError` for what is neither."""
    if isinstance(named, str):
        if named not in _NAMED:
            raise UsageError(
                f"there is no codec {named!r}. Name one of {', '.join(_NAMED)}, or give an object "
                f"of the protocol streams.Codec."
            )
        return _NAMED[named]
    if not isinstance(named, Codec):
        raise UsageError(
            f"{named!r} is no codec: it needs name, text, decoder and encode (streams.Codec)."
        )
    return named
