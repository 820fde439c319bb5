"""The record headers dia reads and writes. Where a name repeats, the last one counts."""

from __future__ import annotations

from typing import Final

from streams.core.types import Headers

SCHEMA: Final = "dia.schema"
"""Schema version of the value, ASCII decimal; absent means `UNNAMED_VERSION`."""

UNNAMED_VERSION: Final = 1
"""The schema version of a record that does not name one."""

REPLAY_APPEND_TS: Final = "dia.replay.append_ts"
"""Of a replayed record: when it was first appended, decimal milliseconds since the epoch. Its
age is judged by that moment."""

REPLAY_HOPS: Final = "dia.replay.hops"
"""Of a replayed record: how many replays it has been through, decimal."""

HOPS_CEILING: Final = 65_535
"""More replays than this are not counted: the ``hops`` column of ClickHouse is a UInt16, and any
producer can write a header."""

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

DLQ_REPLAY_HOPS: Final = DLQ_PREFIX + "replay_hops"
"""Of a dead letter: how many replays its record had been through when it failed, decimal."""

TRACEPARENT: Final = "traceparent"
"""Of a record that is followed by a trace: https://www.w3.org/TR/trace-context/."""

_DIGITS_MAX = 18
"""Enough for any offset, count or time, and always within 64 bits."""


def of_version(version: int) -> Headers:
    """The header that names the schema version of a value; none for the version of values without it."""
    return () if version == UNNAMED_VERSION else ((SCHEMA, b"%d" % version),)


def last(headers: Headers, name: str) -> bytes | None:
    """The value of the last header of that name; None when there is none."""
    for key, value in reversed(headers):
        if key == name:
            return value
    return None


def hops(headers: Headers) -> int:
    """How many replays a record has been through, at most `HOPS_CEILING`.

    A record that still has the provenance of a dead letter was copied from a DLQ by a foreign
    tool, which counts no replay: that copy is one replay more than the dead letter says.
    """
    replayed = decimal(last(headers, REPLAY_HOPS)) or 0
    buried = decimal(last(headers, DLQ_REPLAY_HOPS))
    return min(HOPS_CEILING, replayed if buried is None else max(replayed, buried + 1))


def decimal(raw: bytes | None) -> int | None:
    """A header value as a non-negative number; None when it is not one."""
    if raw and len(raw) <= _DIGITS_MAX and raw.isdigit():
        return int(raw)
    return None
