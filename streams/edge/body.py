"""The body of a request: read within bounds of size and time, and cut into events."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from starlette.requests import ClientDisconnect, Request

from streams.access.refusals import (
    BodyTimeout,
    BodyTooLarge,
    Overloaded,
    Unreadable,
    UnsupportedMedia,
)
from streams.edge.exchange import EVENTS_MAX, JSON, NDJSON, SCHEMA_HEADER
from streams.headers import UNNAMED_VERSION, decimal
from streams.text_encoding import foreign_encoding, without_mark

READ_TIMEOUT_S = 30.0

_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])


class Room:
    """Memory for bodies, of all requests together."""

    def __init__(self, bytes_max: int) -> None:
        self._left = bytes_max

    @contextmanager
    def reserve(self, size_bytes: int) -> Iterator[None]:
        """Hold ``size_bytes`` inside the block. Raises `Overloaded` when they are not left."""
        if size_bytes > self._left:
            raise Overloaded("too many bodies are being read at once", retry_after_s=1.0)
        self._left -= size_bytes
        try:
            yield
        finally:
            self._left += size_bytes


def declared_bytes(request: Request, bytes_max: int) -> int:
    """How long the body may be: what it says of itself, or all that is allowed.

    Raises `BodyTooLarge`, before a byte of it is read.
    """
    said = request.headers.get("content-length", "")
    if not said.isdecimal():
        return bytes_max
    if len(said) > 18 or int(said) > bytes_max:
        raise _too_large(bytes_max)
    return int(said)


async def read(request: Request, bytes_max: int) -> bytes:
    """The whole body. Raises `BodyTooLarge`, `BodyTimeout`, and `Unreadable` when the client
    hangs up in the middle."""
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(READ_TIMEOUT_S):
            async for chunk in request.stream():
                size += len(chunk)
                if size > bytes_max:
                    raise _too_large(bytes_max)
                chunks.append(chunk)
    except TimeoutError:
        raise BodyTimeout(f"the body did not come within {READ_TIMEOUT_S:g} s") from None
    except ClientDisconnect:
        raise Unreadable("the client hung up") from None
    return b"".join(chunks)


def media_type(request: Request) -> str:
    """`JSON` or `NDJSON`. Raises `UnsupportedMedia` for anything else, compressed bodies too."""
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise UnsupportedMedia("send the body as it is, without Content-Encoding")
    said = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if said not in {JSON, NDJSON}:
        raise UnsupportedMedia(f"Content-Type must be {JSON} or {NDJSON}")
    return said


def schema_version(request: Request) -> int:
    """Of the events in the body. Raises `Unreadable` for what is no number."""
    said = request.headers.get(SCHEMA_HEADER)
    version = UNNAMED_VERSION if said is None else decimal(said.encode("latin-1"))
    if version is None:
        raise Unreadable(f"{SCHEMA_HEADER} must be the number of a schema version, like 1")
    return version


def events(body: bytes, media: str) -> list[bytes]:
    """The bytes of each event: the lines that are not blank, the elements of an array, or the
    one document. They are kept as they came; an event without an id is known by its bytes.

    Raises `Unreadable` for a body without events, in another encoding, or an array that is none, `BodyTooLarge` for too
    many events.
    """
    if (encoding := foreign_encoding(body)) is not None:
        raise Unreadable(f"the body is {encoding}; send UTF-8")
    body = without_mark(body)
    found = _lines(body) if media == NDJSON else _documents(body.strip())
    if not found:
        raise Unreadable("the body holds no event")
    if len(found) > EVENTS_MAX:
        raise BodyTooLarge(f"a request takes at most {EVENTS_MAX} events, not {len(found)}")
    return found


def _lines(body: bytes) -> list[bytes]:
    return [line for line in map(bytes.strip, body.split(b"\n")) if line]


def _documents(body: bytes) -> list[bytes]:
    if not body.startswith(b"["):
        return [body] if body else []
    try:
        elements: list[Any] = _ARRAY.decode(body)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"the array is no JSON: {error}") from None
    return [bytes(element) for element in elements]


def _too_large(bytes_max: int) -> BodyTooLarge:
    return BodyTooLarge(f"a body takes at most {bytes_max} bytes; send smaller batches")
