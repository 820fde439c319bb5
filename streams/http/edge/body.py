"""Reads request bodies within bounds of size and time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.requests import ClientDisconnect, Request

from streams.connect.access.fair_share import FairShare
from streams.connect.access.refusals import (
    BadRequest,
    BodyTimeout,
    BodyTooLarge,
    Overloaded,
    UnsupportedMedia,
)
from streams.core.records.headers import UNNAMED_VERSION, decimal
from streams.http.edge.exchange import JSON, NDJSON, SCHEMA_HEADER

READ_TIMEOUT_S = 30.0


class BodyMemory:
    """Memory for all request bodies, shared fairly between owners."""

    def __init__(self, bytes_max: int) -> None:
        self._room: FairShare[str] = FairShare(bytes_max)

    @contextmanager
    def entered(self, owner: str) -> Iterator[BodyReservation]:
        """Of one request of ``owner``, released at the end of the block."""
        held = BodyReservation(self._room, owner)
        try:
            yield held
        finally:
            held.give_back()


class BodyReservation:
    """Raises `Overloaded` beyond the owner's share."""

    def __init__(self, room: FairShare[str], owner: str) -> None:
        self._room = room
        self._owner = owner
        self._bytes = 0

    def expect(self, size_bytes: int) -> None:
        """Check that ``size_bytes`` would fit now. Reserves nothing before the bytes arrive."""
        if not self._room.fits({self._owner: size_bytes}):
            raise _crowded()

    def grow(self, size_bytes: int) -> None:
        """Reserve ``size_bytes`` for bytes that arrived."""
        if not self._room.take({self._owner: size_bytes}):
            raise _crowded()
        self._bytes += size_bytes

    def give_back(self) -> None:
        if self._bytes:
            self._room.give({self._owner: self._bytes})
            self._bytes = 0


def declared_bytes(request: Request, bytes_max: int) -> int | None:
    """None for a chunked body. Raises `BodyTooLarge` before reading a byte."""
    said = request.headers.get("content-length", "")
    if not said.isdecimal():
        return None
    if len(said) > 18 or int(said) > bytes_max:
        raise _too_large(bytes_max)
    return int(said)


async def read(request: Request, bytes_max: int, held: BodyReservation) -> bytes:
    """The whole body, counted by ``held``. Raises `BodyTooLarge`, `BodyTimeout`, `Overloaded`,
    `BadRequest`."""
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(READ_TIMEOUT_S):
            async for chunk in request.stream():
                size += len(chunk)
                if size > bytes_max:
                    raise _too_large(bytes_max)
                held.grow(len(chunk))
                chunks.append(chunk)
    except TimeoutError:
        raise BodyTimeout(f"the body did not arrive within {READ_TIMEOUT_S:g} s") from None
    except ClientDisconnect:
        raise BadRequest("the client hung up") from None
    return b"".join(chunks)


def media_type(request: Request) -> str:
    """`JSON` or `NDJSON`. Raises `UnsupportedMedia`, also for compressed bodies."""
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise UnsupportedMedia("send the body as it is, without Content-Encoding")
    said = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if said not in {JSON, NDJSON}:
        raise UnsupportedMedia(f"Content-Type must be {JSON} or {NDJSON}")
    return said


def schema_version(request: Request) -> int:
    """Of the events in the body. Raises `BadRequest` unless it is a number."""
    said = request.headers.get(SCHEMA_HEADER)
    version = UNNAMED_VERSION if said is None else decimal(said.encode("latin-1"))
    if version is None:
        raise BadRequest(f"{SCHEMA_HEADER} must be the number of a schema version, like 1")
    return version


def _crowded() -> Overloaded:
    return Overloaded("too many bodies of this tenant are being read at once", retry_after_s=1.0)


def _too_large(bytes_max: int) -> BodyTooLarge:
    return BodyTooLarge(f"a body takes at most {bytes_max} bytes; send smaller batches")
