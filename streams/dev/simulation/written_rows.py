"""In-memory sinks of an app, for tests and simulations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from streams.connect.sinks.memory_replica import Row
from streams.core.rows.row_sink import DeclaredSink, RowBatch


class WrittenRows:
    """Keeps every batch once, as a real sink must."""

    def __init__(self) -> None:
        self._batches: dict[str, RowBatch] = {}

    async def write(self, batch: RowBatch) -> None:
        self._batches.setdefault(batch.name, batch)

    async def close(self) -> None:
        return

    @property
    def rows(self) -> list[Row]:
        return [row for batch in self._batches.values() for row in batch.rows()]


def in_memory(
    declared: Mapping[str, DeclaredSink], written: Mapping[str, WrittenRows]
) -> dict[str, DeclaredSink]:
    """Each sink with its rows in ``written``."""
    return {
        name: replace(sink, open=partial(_already_open, written[name]))
        for name, sink in declared.items()
    }


def _already_open(sink: WrittenRows, *_: object) -> WrittenRows:
    return sink
