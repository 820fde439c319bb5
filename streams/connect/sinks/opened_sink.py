"""A declared sink of one process: opened by the first batch, with a deadline per call."""

from __future__ import annotations

import asyncio

import structlog

from streams.core.rows.row_sink import DeclaredSink, RowBatch, RowSink
from streams.core.settings import Settings

log = structlog.get_logger(__name__)


class OpenedSink:
    """Opened by the first batch. Serves one write at a time, within `Settings.sink_timeout_s`."""

    def __init__(self, declared: DeclaredSink, settings: Settings) -> None:
        self._declared = declared
        self._settings = settings
        self._sink: RowSink | None = None

    async def write(self, batch: RowBatch) -> None:
        """As `RowSink.write`. Raises the errors of opening and writing, and `TimeoutError`."""
        if self._sink is None:
            self._sink = self._declared.open(self._declared, self._settings)
        async with asyncio.timeout(self._settings.sink_timeout_s):
            await self._sink.write(batch)

    async def close(self) -> None:
        if self._sink is None:
            return
        try:
            async with asyncio.timeout(self._settings.sink_timeout_s):
                await self._sink.close()
        except Exception:
            log.exception("sink_not_closed", sink=self._declared.name)
