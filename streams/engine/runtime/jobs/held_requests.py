"""Keeps requests of a partition in memory up to ``max_bytes``; of the others only the index.

A request that is not held is read again from the source in its turn, together with later ones that
fit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from streams.core.errors import BatchUnreadable, TransientError
from streams.core.types import OffsetOutOfRange, RecordBatch, TopicPartition
from streams.engine.agents.queue_policy import HIGH_PRIORITY
from streams.engine.decode.codecs import Decoded, settled
from streams.engine.runtime.effects.dead_letters import Origin
from streams.engine.runtime.jobs.request_log import RequestLog, unread
from streams.engine.runtime.jobs.requests import Request, held_bytes

READ_AGAIN: Final = 500
"""most requests read again at once"""
_NORMAL_SHARE: Final = 0.75
"""share of ``max_bytes`` for requests of normal priority"""


class HeldRequests:
    """For one partition. ``lost`` is called if the log no longer has a request, or has another
    record at its offset."""

    def __init__(
        self,
        tp: TopicPartition,
        max_bytes: int,
        epoch: int,
        request_log: RequestLog,
        decode: Callable[[RecordBatch], Decoded],
        lost: Callable[[Request], None],
    ) -> None:
        self.bytes_used = 0
        self._tp = tp
        self._max_bytes = max_bytes
        self._epoch = epoch
        self._request_log = request_log
        self._decode = decode
        self._lost = lost
        self._indexed: dict[int, Request] = {}
        """requests that are not held, by offset"""
        self._reading = asyncio.Lock()  # a read may hold the requests of those that wait for it

    @property
    def indexed(self) -> int:
        return len(self._indexed)

    def __contains__(self, request: Request) -> bool:
        return request.offset not in self._indexed

    def take(self, request: Request) -> None:
        """Hold the request or only its index, unless decided before."""
        event, origin = request.event, request.origin
        if origin is None or request.held_bytes:
            return
        share = 1.0 if request.ask.priority >= HIGH_PRIORITY else _NORMAL_SHARE
        if held_bytes(origin) <= self._max_bytes * share - self.bytes_used:
            self._hold(request, event, origin)
        else:
            request.event = request.origin = None
            self._indexed[request.offset] = request

    def let_go(self, request: Request) -> None:
        self.bytes_used -= request.held_bytes
        request.event, request.origin, request.held_bytes = None, None, 0
        self._indexed.pop(request.offset, None)

    async def load(self, request: Request) -> Any:
        """The event of the request, read again if necessary. Raises `RequestUnread`."""
        async with self._reading:
            if request not in self:
                try:
                    batch = await self._request_log.read(self._tp, request.offset, READ_AGAIN)
                except (OffsetOutOfRange, BatchUnreadable) as error:
                    self._lost(request)
                    raise unread(str(error)) from error
                try:
                    decoded = await settled(lambda: self._decode(batch))
                except TransientError as error:
                    raise unread(str(error)) from error
                self._hold_again(request, batch, decoded)
        return request.event

    def _hold_again(self, wanted: Request, batch: RecordBatch, decoded: Decoded) -> None:
        room_bytes = self._max_bytes * _NORMAL_SHARE
        rows = range(len(batch)) if decoded.positions is None else decoded.positions
        for event, row in zip(decoded.events, rows, strict=True):
            request = self._indexed.get(batch.offsets[row])
            if request is None or request.append_ms != batch.timestamps[row]:
                continue  # not wanted, or another record: the log lost its end and grew again
            origin = Origin.of(batch, row, self._epoch)
            # The request in turn is held in any case, or the partition would never advance.
            now = request is wanted or request.stage == "preparing"
            if now or self.bytes_used + held_bytes(origin) <= room_bytes:
                del self._indexed[request.offset]
                self._hold(request, event, origin)
        if wanted.event is None:
            self._lost(wanted)
            raise unread(f"offset {wanted.offset} of {self._tp} is another record")

    def _hold(self, request: Request, event: Any, origin: Origin) -> None:
        request.event, request.origin = event, origin
        request.held_bytes = held_bytes(origin)
        self.bytes_used += request.held_bytes
