"""The record headers dia reads and writes. Where a name repeats, the last one counts."""

from __future__ import annotations

from typing import Final

from streams.types import Headers

SCHEMA: Final = "dia.schema"
"""Schema version of the value, ASCII decimal; absent means 1."""

REPLAY_APPEND_TS: Final = "dia.replay.append_ts"
"""Of a replayed record: when it was first appended, decimal milliseconds since the epoch. Its
age is judged by that moment."""

REPLAY_HOPS: Final = "dia.replay.hops"
"""Of a replayed record: how many replays it has been through, decimal."""

REPLAY_PLAN: Final = "dia.replay.plan"
"""Of a replayed record: the plan that replayed it."""

REPLAY_ID: Final = "dia.replay.id"
"""Of a replayed record: the id of the dead letter it was."""

REPLAY_SHED: Final = "dia.replay.shed"
"""Of a record that was shed and brought back: topic/partition/offset of the one it copies."""

REPLAY_PREFIX: Final = "dia.replay."

REPLAY_PARKED_FOR: Final = "dia.replay.parked_for"
"""Of a record in the parking lot: why it is there."""

DLQ_PREFIX: Final = "dia.dlq."
"""Provenance of a dead letter, added behind the headers of its record."""

TRACEPARENT: Final = "traceparent"
"""Of a record that is followed by a trace: https://www.w3.org/TR/trace-context/."""

_DIGITS_MAX = 18
"""Enough for any offset, count or time, and always within 64 bits."""


def last(headers: Headers, name: str) -> bytes | None:
    """The value of the last header of that name; None when there is none."""
    for key, value in reversed(headers):
        if key == name:
            return value
    return None


def decimal(raw: bytes | None) -> int | None:
    """A header value as a non-negative number; None when it is not one."""
    if raw and len(raw) <= _DIGITS_MAX and raw.isdigit():
        return int(raw)
    return None
