"""The records of one request: stored together, or not at all."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from streams.core.command_errors import SpoolCorrupt
from streams.core.records import headers
from streams.core.types import Headers


class RequestBatch(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """``keys[i]`` is the key of ``values[i]``. ``number`` rises within one ``edge`` (the run's
    name) and topic. ``traceparent``: b"" for none."""

    edge: str
    number: int
    keys: list[bytes]
    values: list[bytes]
    traceparent: bytes = b""
    version: int = headers.UNNAMED_VERSION

    @property
    def size_bytes(self) -> int:
        """Without framing."""
        return sum(map(len, self.keys)) + sum(map(len, self.values))

    def bytes_by_key(self) -> dict[bytes, int]:
        return bytes_by_key(self.keys, self.values)

    @property
    def headers(self) -> Headers:
        followed = ((headers.TRACEPARENT, self.traceparent),) if self.traceparent else ()
        return (*headers.of_version(self.version), *followed)


def bytes_by_key(keys: Sequence[bytes], values: Sequence[bytes]) -> dict[bytes, int]:
    """``keys[i]`` is the key of ``values[i]``."""
    first = keys[0]
    if keys.count(first) == len(keys):
        return {first: len(first) * len(keys) + sum(map(len, values))}
    found: dict[bytes, int] = {}
    for key, value in zip(keys, values, strict=True):
        found[key] = found.get(key, 0) + len(key) + len(value)
    return found


_decoder = msgspec.msgpack.Decoder(list[RequestBatch])


def encode(blocks: Sequence[RequestBatch]) -> bytes:
    return msgspec.msgpack.encode(blocks)


def decode(payload: bytes) -> list[RequestBatch]:
    """Raises `SpoolCorrupt` when ``payload`` was not written by `encode`."""
    try:
        return _decoder.decode(payload)
    except ValueError as error:
        raise SpoolCorrupt(f"a spooled block cannot be read: {error}") from error
