"""Returns the refused rows of one partition to the shards and sinks of the app."""

from __future__ import annotations

from streams.connect.sinks.opened_sink import OpenedSink
from streams.core.errors import SinkUnavailable
from streams.core.rows.built_in_tables import RowsRefused, ShardSet
from streams.core.rows.row_sink import DeclaredSink, RowBatch
from streams.core.rows.targets import Targets
from streams.core.settings import Settings
from streams.operate.dlq.dead_letter import DeadLetterRecord
from streams.operate.replay.run.sink_row import (
    RefusedWindowRow,
    TargetRow,
    batch_of,
    insert_fact,
    insert_window,
    readable_row,
)


class RowReturn:
    """``shards`` None: only rows of sinks can return. A sink is opened for its first row."""

    def __init__(self, shards: ShardSet | None, targets: Targets, settings: Settings) -> None:
        self._shards = shards
        self._targets = targets
        self._settings = settings
        self._sinks: dict[str, OpenedSink] = {}

    async def put(self, letter: DeadLetterRecord, value: bytes | None) -> str:
        """Store the row in ``value``; repeating it is harmless. Returns why the target refuses it,
        or "".

        Raises a `TransientError` when the target is unavailable, and `ValueError` as
        `readable_row`."""
        found = readable_row(self._targets, letter, value)
        try:
            if isinstance(found, TargetRow) and isinstance(found.target, DeclaredSink):
                await self._write(found.target, batch_of(found.target, letter, found.row))
            elif self._shards is None:
                return "no ClickHouse shard is known: set DIA_CLICKHOUSE_SHARDS, or `dia up`"
            else:
                await self._insert(self._shards, found)
        except RowsRefused as error:
            return f"{_name(found)} refuses the row again: {error.reason}"
        return ""

    async def close(self) -> None:
        opened, self._sinks = self._sinks, {}
        for sink in opened.values():
            await sink.close()

    async def _insert(self, shards: ShardSet, found: RefusedWindowRow | TargetRow) -> None:
        if isinstance(found, RefusedWindowRow):
            await insert_window(shards, found)
            return
        assert not isinstance(found.target, DeclaredSink)
        await insert_fact(shards, found.target, found.row, found.first_days)

    async def _write(self, declared: DeclaredSink, batch: RowBatch) -> None:
        name = declared.name
        try:
            if name not in self._sinks:
                self._sinks[name] = OpenedSink(declared, self._settings)
            await self._sinks[name].write(batch)
        except RowsRefused:
            raise
        except Exception as error:
            what = f"{type(error).__name__}: {error}"[:500]
            raise SinkUnavailable(f"sink {name} did not store the row: {what}") from error


def _name(found: RefusedWindowRow | TargetRow) -> str:
    if isinstance(found, TargetRow) and isinstance(found.target, DeclaredSink):
        return f"sink {found.target.name}"
    return "ClickHouse"
