"""Traces on the in-memory broker and shards of an `AppTester`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from streams.connect.broker.opened import opened
from streams.operate.trace.means import TraceBounds, TraceMeans
from streams.operate.trace.shown_rows import Where
from streams.operate.trace.trace_report import TraceReport
from streams.operate.trace.tracer import trace
from streams.testing import AppTester


class MemoryRows:
    """`ShownRows` of in-memory shards; with ``away``, it raises instead, and ``silent`` never answers."""

    def __init__(self, shards: Any, away: Exception | None = None, *, silent: bool = False) -> None:
        self._shards = shards
        self.away = away
        self._silent = silent

    async def rows(
        self, table: str, columns: Mapping[str, str], where: Sequence[Where]
    ) -> list[dict[str, Any]]:
        if self.away is not None:
            raise self.away
        if self._silent:
            await asyncio.Event().wait()
        stored = self._shards.rows(table)
        return [
            {name: row[name] for name in columns}
            for row in stored
            if all(one.holds(row) for one in where)
        ]


def traced(
    tester: AppTester,
    text: str,
    *,
    away: Exception | None = None,
    silent: bool = False,
    found_at: Callable[[str], None] = lambda place: None,
    **bounds: Any,
) -> TraceReport:
    """The report of a trace of ``text``."""
    world = tester._world

    async def ask() -> TraceReport:
        async with opened(world.broker.admin()) as admin, opened(world.broker.reader()) as reader:
            shown = MemoryRows(world.shards, away, silent=silent)
            settings = world.settings
            means = TraceMeans.of(tester.app, settings, world.clock, reader, admin, shown)
            return await trace(means, text, TraceBounds(**bounds), found_at=found_at)

    report: TraceReport = tester._run(ask())
    return report
