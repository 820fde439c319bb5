"""Reads from a worker's log when each partition began to take records."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import msgspec


class PartitionReady(NamedTuple):
    """Its wall clock, and seconds since A1."""

    at_s: float
    took_s: float

    @property
    def began_s(self) -> float:
        return self.at_s - self.took_s


class _Line(msgspec.Struct):
    event: str
    timestamp: datetime
    seconds: float = 0.0


_decode = msgspec.json.Decoder(_Line).decode


def opened(log: Path) -> Sequence[PartitionReady]:
    """In log order; skips other and incomplete lines."""
    found = []
    try:
        lines = log.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    for line in lines:
        if b'"partition_ready"' not in line:
            continue
        try:
            told = _decode(line)
        except msgspec.MsgspecError:
            continue
        found.append(PartitionReady(told.timestamp.timestamp(), told.seconds))
    return found
