"""Media types and receipts between an edge and its clients."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

JSON = "application/json"
NDJSON = "application/x-ndjson"
SCHEMA_HEADER = "dia-schema"
"""HTTP header: schema version of the events of the body; absent means 1."""
EVENTS_MAX = 10_000
"""Events of one request."""
REJECTED_MAX = 1000
"""Rejected events that one response names; bounds its size. After so many rejections the edge stops
validating the body."""

Kept: TypeAlias = Literal["log", "spool"]
"""Where the events were stored when the response was sent."""

Stored: TypeAlias = Kept | Literal["nowhere"]


class Rejected(msgspec.Struct, frozen=True):
    """One rejected event; positions in the body count from 0."""

    index: int
    code: str
    message: str
    path: str


class Receipt(msgspec.Struct, frozen=True):
    """The result of a body. Accepted events are in the log, or synced to the edge's spool, which
    ships them later. ``rejected`` names the first `REJECTED_MAX` of ``rejected_total`` rejected
    events. The last ``not_judged`` events were not validated: correct the rejected ones and send
    those again."""

    accepted: int
    stored: Stored
    rejected: list[Rejected]
    rejected_total: int = 0
    not_judged: int = 0
