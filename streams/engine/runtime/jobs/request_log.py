"""Reads requests again from their topic: one reader for all job partitions of a process."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import structlog

from streams.core.clock import Clock
from streams.core.errors import RequestUnread, TransientError
from streams.core.resilience.deadline import Deadline, DeadlinePassed
from streams.core.types import Broker, LogReader, RecordBatch, TopicPartition
from streams.engine.runtime.jobs.work import REQUEST_LOG, Work

log = structlog.get_logger(__name__)

READ_MAX_S: Final = 30.0
"""limit of one read, including the reads before it"""


class RequestLog:
    """Opens its reader at the first read and after a failure."""

    def __init__(self, broker: Broker, clock: Clock) -> None:
        self._broker = broker
        self._clock = clock
        self._reader: LogReader | None = None
        self._lock = asyncio.Lock()

    async def read(self, tp: TopicPartition, offset: int, max_records: int) -> RecordBatch:
        """As `LogReader.read`, one call at a time, within `READ_MAX_S`.

        Raises `RequestUnread` without an answer, `OffsetOutOfRange`, and `PartitionStopped` errors.
        """
        try:
            batch = await Deadline(self._clock, READ_MAX_S).wait(
                self._turn(tp, offset, max_records)
            )
        except DeadlinePassed as error:
            raise unread(f"no answer within {READ_MAX_S:g} s") from error
        except TransientError as error:
            raise unread(str(error)) from error
        if batch.end == offset:
            raise unread(f"the leader of {tp} is not up to date")
        return batch

    async def _turn(self, tp: TopicPartition, offset: int, max_records: int) -> RecordBatch:
        """A cancelled caller leaves a running read to end: the reader cannot be used after half a
        read."""
        await self._lock.acquire()
        reading = asyncio.ensure_future(self._read(tp, offset, max_records))
        reading.add_done_callback(self._ended)
        return await asyncio.shield(reading)

    async def _read(self, tp: TopicPartition, offset: int, max_records: int) -> RecordBatch:
        if self._reader is None:
            self._reader = await self._broker.reader()
        try:
            return await self._reader.read(tp, offset, max_records)
        except TransientError:
            await self._close()
            raise

    def _ended(self, reading: asyncio.Future[RecordBatch]) -> None:
        self._lock.release()
        if not reading.cancelled():
            reading.exception()  # retrieved, so that asyncio does not log it if the caller was cancelled

    async def close(self) -> None:
        async with self._lock:
            await self._close()

    async def _close(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            await reader.close()


def unread(why: str) -> RequestUnread:
    error = RequestUnread(f"a waiting request cannot be read again: {why}")
    error.need = REQUEST_LOG
    return error


async def loaded(work: Work) -> Any:
    """The request of ``work``. Raises `RequestUnread` only: no answer is possible without the
    request."""
    try:
        return await work.owner.load(work)
    except TransientError:
        raise
    except Exception as error:
        log.exception("request_not_loaded", queue=work.ask.queue)
        raise unread(repr(error)) from error
