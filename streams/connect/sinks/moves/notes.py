"""What operators order and movers tell about a move, on the first server. No step depends on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from streams.connect.sinks.clickhouse import shard_replicas
from streams.connect.sinks.replica import Replica, StatementRefused
from streams.connect.sinks.shard_maps import KnownMaps
from streams.core.errors import ShardUnavailable
from streams.core.settings import Settings

_READ: Final = """
SELECT name, argMax(note, at), (toUnixTimestamp64Milli(now64(3)) - toUnixTimestamp64Milli(max(at))) / 1000
FROM shard_move_notes_local WHERE version = {version:UInt32} GROUP BY name
"""
_WRITE: Final = (
    "INSERT INTO shard_move_notes_local (version, name, note) "
    "SELECT {version:UInt32}, {name:String}, {note:String}"
)


class MoveOrder(msgspec.Struct, frozen=True, kw_only=True):
    """``batch``: rows of an insert, about. ``rate``: rows copied in a second at most; None: no limit."""

    batch: int = 50_000
    rate: float | None = None
    paused: bool = False


class MoveProgress(msgspec.Struct, frozen=True, kw_only=True):
    """``done`` of about ``whole`` rows of a UTC ``day`` (since 1970) are copied, or were found copied, in
    ``seconds`` without pauses."""

    day: int
    whole: int
    done: int
    seconds: float

    @property
    def per_s(self) -> float | None:
        """None: no row yet."""
        return self.done / self.seconds if self.done and self.seconds > 0 else None


class ToldProgress(msgspec.Struct, frozen=True):
    """``age_s``: since a mover told it."""

    progress: MoveProgress
    age_s: float


class MoveNotes:
    """Of the move ``version``. Close it after use. Raises `ShardUnavailable` and `ShardBusy`."""

    def __init__(self, settings: Settings, known: KnownMaps, version: int) -> None:
        first, *others = [one for group in shard_replicas(settings, known) for one in group]
        for replica in others:
            replica.close()
        self._replica: Replica = first
        self._version = version

    def close(self) -> None:
        self._replica.close()

    def order(self) -> MoveOrder:
        note = self._read().get("order")
        return msgspec.json.decode(note[0], type=MoveOrder) if note else MoveOrder()

    def progress(self) -> ToldProgress | None:
        note = self._read().get("progress")
        if note is None:
            return None
        return ToldProgress(msgspec.json.decode(note[0], type=MoveProgress), note[1])

    def give(self, order: MoveOrder) -> None:
        self._write("order", order)

    def tell(self, progress: MoveProgress) -> None:
        self._write("progress", progress)

    def _read(self) -> dict[str, tuple[str, float]]:
        try:
            rows: Sequence[Sequence[Any]] = self._replica.query(_READ, {"version": self._version})[
                1
            ]
        except StatementRefused as error:
            raise self._refused(error) from error
        return {str(name): (str(note), float(age_s)) for name, note, age_s in rows}

    def _write(self, name: str, note: msgspec.Struct) -> None:
        text = msgspec.json.encode(note).decode()
        values = {"version": self._version, "name": name, "note": text}
        try:
            self._replica.command(_WRITE, values)
        except StatementRefused as error:
            raise self._refused(error) from error

    def _refused(self, error: StatementRefused) -> ShardUnavailable:
        return ShardUnavailable(
            f"{self._replica.url} refuses a note of the move: {error} `dia migrate status` compares its schema."
        )
