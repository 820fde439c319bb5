"""Engines that over-trust their shards, and shards that show open windows wrongly for a while
(streams/dev/simulation/broken/variants.py)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from unittest.mock import patch

from streams.connect.sinks.memory import MemoryShards
from streams.connect.sinks.memory_replica import Row
from streams.dev.simulation.variant import Variant, replaced
from streams.engine.runtime import assignment


@contextmanager
def _map_ignored() -> Iterator[None]:
    """Neither the changelog's nor a server's shard map is looked at."""

    def settle(self: MemoryShards, *_: object) -> None:
        self._confirmed = True

    async def unasked(self: MemoryShards, *, certain: bool = False) -> None:
        """The servers' record is not read."""

    with (
        patch.object(assignment, "check_map", lambda *_: None),
        patch.object(MemoryShards, "_settle", settle),
        patch.object(MemoryShards, "learn", unasked),
    ):
        yield


_FRESH_MS = 30_000
_LIVE_S = 40
"""Younger than any window that closes."""

_rows = MemoryShards.rows


def _fresh(shards: MemoryShards, row: Row) -> bool:
    """The row of an open window was inserted just before."""
    now_ms = shards._clock.now_ms()
    return bool(now_ms - row["at"] < _FRESH_MS and row["w"] + _LIVE_S > now_ms // 1000)


def _before_the_merge(self: MemoryShards, table: str, shard: int | None = None) -> list[Row]:
    """A view without FINAL: until parts are merged, a row has two incarnations."""
    shown = _rows(self, table, shard)
    if table != "m1":
        return shown
    return [*shown, *({**row, "inc": row["inc"] + (1 << 30)} for row in shown if _fresh(self, row))]


def _before_the_flush(self: MemoryShards, table: str, shard: int | None = None) -> list[Row]:
    """An asynchronous insert is acknowledged before readers see its rows."""
    shown = _rows(self, table, shard)
    return [row for row in shown if not (table == "m1" and _fresh(self, row))]


BROKEN_SHARDS: Mapping[str, Variant] = {
    "another_shard_map_ignored": _map_ignored,
    "one_replica_acknowledges": replaced(MemoryShards, _quorum=lambda *_: 1),
    "live_rows_twice_until_merged": replaced(MemoryShards, rows=_before_the_merge),
    "live_rows_acknowledged_unseen": replaced(MemoryShards, rows=_before_the_flush),
}
