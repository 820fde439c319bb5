"""Requests read again from their topic: one reader for all job partitions of a process."""

from __future__ import annotations

import asyncio

from streams.errors import RequestUnread, TransientError
from streams.runtime.work import REQUEST_LOG
from streams.types import Broker, LogReader, RecordBatch, TopicPartition


class RequestLog:
    """Opens its reader at the first read, and another one after a failure."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._reader: LogReader | None = None
        self._lock = asyncio.Lock()

    async def read(self, tp: TopicPartition, offset: int, max_records: int) -> RecordBatch:
        """As `LogReader.read`. One call at a time; a caller that is cancelled leaves the read to
        end by itself, since the reader could not be used after half a read."""
        reading = asyncio.ensure_future(self._read(tp, offset, max_records))
        reading.add_done_callback(_seen)
        return await asyncio.shield(reading)

    async def _read(self, tp: TopicPartition, offset: int, max_records: int) -> RecordBatch:
        async with self._lock:
            if self._reader is None:
                self._reader = await self._broker.reader()
            try:
                return await self._reader.read(tp, offset, max_records)
            except TransientError:
                await self._close()
                raise

    async def close(self) -> None:
        """Give up the reader."""
        async with self._lock:
            await self._close()

    async def _close(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            await reader.close()


def _seen(reading: asyncio.Future[RecordBatch]) -> None:
    """Its caller may be gone: asyncio would log an error that nothing waits for."""
    if not reading.cancelled():
        reading.exception()


def unread(why: str) -> RequestUnread:
    """The error of work whose request cannot be read again now."""
    error = RequestUnread(f"a request that waits cannot be read again: {why}")
    error.need = REQUEST_LOG
    return error
