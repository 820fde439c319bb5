"""Record headers of dia. The last header of a name counts."""

from __future__ import annotations

from typing import Final

from streams.core.types import Headers

SCHEMA: Final = "dia.schema"
"""schema version of the value, ASCII decimal; absent means `UNNAMED_VERSION`"""

UNNAMED_VERSION: Final = 1

REPLAY_APPEND_TS: Final = "dia.replay.append_ts"
"""of a replayed record: its first append time, decimal milliseconds since the epoch, the base of
its age"""

REPLAY_HOPS: Final = "dia.replay.hops"
"""its number of replays, decimal"""

HOPS_CEILING: Final = 65_535
"""The ``hops`` column is a UInt16, and any producer can write the header."""

REPLAY_PLAN: Final = "dia.replay.plan"

REPLAY_ID: Final = "dia.replay.id"
"""the id of its dead letter"""

REPLAY_SHED: Final = "dia.replay.shed"
"""of a replayed shed record: topic/partition/offset of the original"""

REPLAY_PREFIX: Final = "dia.replay."

REPLAY_PARKED_FOR: Final = "dia.replay.parked_for"
"""of a parked record: the reason"""

DLQ_PREFIX: Final = "dia.dlq."
"""provenance of a dead letter, added behind its record's headers"""

DLQ_REPLAY_HOPS: Final = DLQ_PREFIX + "replay_hops"
"""of a dead letter: replays of its record before it failed, decimal"""

MIRRORED: Final = "dia.mirrored"
"""without a value: of a record that other regions have, too. A mirror copied it, or agents made it, as those of
each region do. No mirror copies it"""

TRACEPARENT: Final = "traceparent"
"""Traced record: https://www.w3.org/TR/trace-context/."""

_DIGITS_MAX = 18
"""enough for any offset, count or time within 64 bits"""


def of_version(version: int) -> Headers:
    """None for `UNNAMED_VERSION`."""
    return () if version == UNNAMED_VERSION else ((SCHEMA, b"%d" % version),)


def last(headers: Headers, name: str) -> bytes | None:
    for key, value in reversed(headers):
        if key == name:
            return value
    return None


def hops(headers: Headers) -> int:
    """At most `HOPS_CEILING`. A record with the provenance of a dead letter was copied from a DLQ
    by another tool: one more replay."""
    replayed = decimal(last(headers, REPLAY_HOPS)) or 0
    buried = decimal(last(headers, DLQ_REPLAY_HOPS))
    return min(HOPS_CEILING, replayed if buried is None else max(replayed, buried + 1))


def decimal(raw: bytes | None) -> int | None:
    """A non-negative number, or None."""
    if raw and len(raw) <= _DIGITS_MAX and raw.isdigit():
        return int(raw)
    return None
