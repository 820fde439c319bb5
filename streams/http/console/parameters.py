"""Strict parsing of request parameters: an error names the parameter."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Literal, TypeVar, cast, get_args

import msgspec
from starlette.requests import ClientDisconnect, Request

from streams.connect.access.refusals import BadRequest, BodyTimeout, BodyTooLarge, UnsupportedMedia
from streams.core.words.moments import moment_s, span_s
from streams.core.words.naming import NAME_CHARS_MAX

T = TypeVar("T")

BODY_BYTES_MAX = 256 << 10
BODY_TIMEOUT_S = 10.0
TIME_MAX_S = 4_000_000_000
"""The largest ClickHouse DateTime, rounded down."""


class Parameters:
    """Of the query string; unknown ones are ignored."""

    def __init__(self, request: Request) -> None:
        self._given = request.query_params

    def name(self, key: str, default: str | None = None) -> str:
        """A name of 1 to 128 characters. Raises `BadRequest`."""
        found = self.optional(key)
        if found is None:
            if default is None:
                raise BadRequest(f"the parameter {key} is missing")
            return default
        return found

    def optional(self, key: str) -> str | None:
        """As `name`; None when absent or empty."""
        return self._checked(key, self._given.get(key) or None)

    def tenant(self) -> str | None:
        """None when absent. An empty one is refused: it must not mean every tenant."""
        return self._checked("tenant", self._given.get("tenant"))

    def _checked(self, key: str, found: str | None) -> str | None:
        if found is not None:
            _check_name(key, found)
        return found

    def names(self, key: str, at_most: int, chars_max: int = NAME_CHARS_MAX) -> tuple[str, ...]:
        """A parameter that may be repeated."""
        found = tuple(dict.fromkeys(self._given.getlist(key)))
        if len(found) > at_most:
            raise BadRequest(f"{key} is given {len(found)} times; at most {at_most} are answered")
        for one in found:
            _check_name(key, one, chars_max)
        return found

    def number(self, key: str, default: int, low: int, high: int) -> int:
        return bounded(key, self._given.get(key), default, low, high)

    def maybe_number(self, key: str, high: int) -> int | None:
        """None when absent or empty."""
        text = self._given.get(key)
        return bounded(key, text, 0, 0, high) if text else None

    def text(self, key: str, chars_max: int) -> str | None:
        """Free text; None when absent or empty. Raises `BadRequest`."""
        found = self._given.get(key) or None
        if found is not None and not (len(found) <= chars_max and _encodable(found)):
            raise BadRequest(f"{key} has at most {chars_max} characters, all of them valid")
        return found

    def numbers(self, key: str, high: int) -> tuple[int, ...]:
        return tuple(bounded(key, text, 0, 0, high) for text in self.names(key, 100))

    def moment(self, key: str, default: str, now_s: float) -> int:
        """Seconds since the epoch. Raises `UsageError`, `BadRequest`."""
        found = moment_s(self.name(key, default), key, now_s)
        if not 0 <= found <= TIME_MAX_S:
            raise BadRequest(f"{key} is before 1970 or too far ahead")
        return found

    def span_asked(self) -> tuple[str, str]:
        """``from`` and ``to`` as written."""
        return self._given.get("from") or "-1h", self._given.get("to") or "now"

    def maybe_moment_ms(self, key: str, now_s: float) -> int | None:
        return self.moment(key, "now", now_s) * 1000 if self._given.get(key) else None

    def span(self, key: str, default: str) -> int:
        found = span_s(self.name(key, default), key)
        if found > TIME_MAX_S:
            raise BadRequest(f"{key} is too long")
        return found

    def maybe_span(self, key: str) -> int | None:
        """Seconds; None when absent or empty."""
        return self.span(key, "") if self._given.get(key) else None

    def choice(self, key: str, words: object, default: str) -> str:
        """One of the words of a `Literal`."""
        known = cast(Sequence[str], get_args(words))
        found = self._given.get(key) or default
        if found not in known:
            raise BadRequest(f"{key} is one of {', '.join(filter(None, known))}")
        return found


def bounded(key: str, text: str | None, default: int, low: int, high: int) -> int:
    """Raises `BadRequest` unless it is a decimal number within the bounds."""
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 19):
        raise BadRequest(f"{key} is not a whole number")
    if not low <= int(text) <= high:
        raise BadRequest(f"{key} is from {low} to {high}")
    return int(text)


def _check_name(key: str, text: str, chars_max: int = NAME_CHARS_MAX) -> None:
    if not 1 <= len(text) <= chars_max:
        raise BadRequest(f"{key} has 1 to {chars_max} characters")
    if not _encodable(text):
        raise BadRequest(f"{key} contains a forbidden character")


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


async def body(request: Request, kind: type[T]) -> T:
    """The JSON body. Raises `UnsupportedMedia`, `BodyTooLarge`, `BadRequest`."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise UnsupportedMedia("the body is application/json")
    try:
        return msgspec.json.decode(await raw_body(request) or b"{}", type=kind)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body cannot be read: {str(error)[:200]}") from error


async def raw_body(request: Request) -> bytes:
    """At most `BODY_BYTES_MAX`, whatever the declared length. Raises `BodyTooLarge`, `BodyTimeout`,
    `BadRequest`."""
    found = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in request.stream():
                found += chunk
                if len(found) > BODY_BYTES_MAX:
                    raise BodyTooLarge(f"a body has at most {BODY_BYTES_MAX} bytes")
    except TimeoutError:
        raise BodyTimeout(f"the body did not arrive within {BODY_TIMEOUT_S:g} s") from None
    except ClientDisconnect:
        raise BadRequest("the client hung up") from None
    return bytes(found)


Format = Literal["json", "csv"]
