"""Splits a body into the bytes of its events without blocking the event loop for long.

NDJSON lines, and an array with few commas, are split in one step. Another array may hold millions
of small elements: it is read token by token, yields every `TOKENS_A_TURN` tokens, and stops after
`EVENTS_MAX` elements."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from streams.connect.access.refusals import BadRequest, BodyTooLarge
from streams.core.records.text_encoding import foreign_encoding, without_mark
from streams.http.edge.exchange import EVENTS_MAX, NDJSON
from streams.http.edge.validation_cost import ValidationCost

LINES_MAX: Final = 2 * EVENTS_MAX
"""blank ones included"""
COMMAS_AT_ONCE: Final = 100_000
"""An array with at most so many commas takes 20 ms."""
TOKENS_A_TURN: Final = 20_000

_ARRAY: Final = msgspec.json.Decoder(list[msgspec.Raw])
_TOKEN: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[\[\]{},]', re.DOTALL)
"""Tokens that delimit elements. An unterminated quote is no token."""


async def events(body: bytes, media: str, judging: ValidationCost) -> list[bytes]:
    """The bytes of each event, unchanged: an event without an id is identified by them.

    Raises `BadRequest` for a body without events, in another encoding, or with a malformed array;
    `BodyTooLarge` for too many events."""
    if (encoding := foreign_encoding(body)) is not None:
        raise BadRequest(f"the body is {encoding}; send UTF-8")
    body = without_mark(body)
    if media == NDJSON:
        found = _lines(body)
    else:
        body = body.strip()
        at_once = not body.startswith(b"[") or body.count(b",") <= COMMAS_AT_ONCE
        found = _documents(body) if at_once else await _elements(body, judging)
    if not found:
        raise BadRequest("the body holds no event")
    if len(found) > EVENTS_MAX:
        raise _too_many(str(len(found)))
    return found


def _lines(body: bytes) -> list[bytes]:
    if (lines := body.count(b"\n")) > LINES_MAX:
        raise BodyTooLarge(f"a request has at most {LINES_MAX} lines, not {lines}")
    return [line for line in map(bytes.strip, body.split(b"\n")) if line]


def _documents(body: bytes) -> list[bytes]:
    if not body.startswith(b"["):
        return [body] if body else []
    try:
        elements: list[Any] = _ARRAY.decode(body)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the array is not valid JSON: {error}") from None
    return [bytes(element) for element in elements]


async def _elements(body: bytes, judging: ValidationCost) -> list[bytes]:
    """The decoder validates their JSON."""
    found: list[bytes] = []
    cut = _cut(body)
    while (piece := next(cut, None)) is not None:
        if piece:
            found.append(piece)
        else:
            await judging.turn()
        if len(found) > EVENTS_MAX:
            raise _too_many(f"more than {EVENTS_MAX}")
    return found


def _cut(body: bytes) -> Iterator[bytes]:
    """The elements, and an empty one after every `TOKENS_A_TURN` tokens."""
    depth, start = 0, 1
    for number, token in enumerate(_TOKEN.finditer(body), 1):
        mark = body[token.start()]
        if mark in b"[{":
            depth += 1
        elif mark in b"]}":
            depth -= 1
        if (depth == 1 and mark == ord(",")) or depth == 0:
            piece = body[start : token.start()].strip()
            if not piece:
                raise BadRequest("the array is not valid JSON: an element is missing")
            yield piece
            start = token.end()
        if depth == 0:
            if body[start:].strip():
                raise BadRequest("the array is not valid JSON: something follows its end")
            return
        if number % TOKENS_A_TURN == 0:
            yield b""
    raise BadRequest("the array is not valid JSON: it does not end")


def _too_many(count: str) -> BodyTooLarge:
    return BodyTooLarge(f"a request takes at most {EVENTS_MAX} events, not {count}")
