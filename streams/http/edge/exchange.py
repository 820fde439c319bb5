"""Media types and receipts between an edge and its clients."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

JSON = "application/json"
NDJSON = "application/x-ndjson"
PROTOBUF = "application/x-protobuf"
SCHEMA_HEADER = "dia-schema"
"""Schema version of the events of the body; absent means 1."""
EVENTS_MAX = 10_000
"""of one request"""
REJECTED_MAX = 1000
"""Rejected events that one response names. Then the edge stops validating the body."""

Kept: TypeAlias = Literal["log", "spool"]
"""where the events were stored when the response was sent"""

Stored: TypeAlias = Kept | Literal["nowhere"]


class Rejected(msgspec.Struct, frozen=True):
    """One rejected event; positions in the body count from 0."""

    index: int
    code: str
    message: str
    path: str


class Receipt(msgspec.Struct, frozen=True):
    """The result of a body. Accepted events are in the log, or synced to the edge's spool.
    ``rejected`` names the first `REJECTED_MAX` of ``rejected_total``. The last ``not_judged``
    events were not validated: send them again."""

    accepted: int
    stored: Stored
    rejected: list[Rejected]
    rejected_total: int = 0
    not_judged: int = 0
