"""What an edge and its clients say to each other: media types and receipts."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

JSON = "application/json"
NDJSON = "application/x-ndjson"
SCHEMA_HEADER = "dia-schema"
"""HTTP header: the schema version of the events of the body; absent means 1."""
EVENTS_MAX = 10_000
"""Events of one request."""
REJECTED_MAX = 1000
"""Events of one answer that are named as refused: an answer is not many times its request. A body that
has so many is not judged further."""

Kept: TypeAlias = Literal["log", "spool"]
"""Where events were when their request was answered."""

Stored: TypeAlias = Kept | Literal["nowhere"]


class Rejected(msgspec.Struct, frozen=True):
    """One event that was refused: its place among the events of the body, from 0 on."""

    index: int
    code: str
    message: str
    path: str


class Receipt(msgspec.Struct, frozen=True):
    """What became of a body. The events that were accepted are in the log, or in the edge's spool,
    synced to disk, from where they will get there. ``rejected`` names the first `REJECTED_MAX` of
    the ``rejected_total`` events that were refused, by their place. The last ``not_judged`` events were
    not looked at, because so many before them were refused: mend these, and send those again."""

    accepted: int
    stored: Stored
    rejected: list[Rejected]
    rejected_total: int = 0
    not_judged: int = 0
