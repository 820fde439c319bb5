"""One subject with many watchers: one poller reads it and sends its newest state to each. A slow
watcher skips states and delays no other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager

import msgspec

from streams.core.clock import Clock
from streams.core.errors import DiaError, RequestRefused

Read = Callable[[], Awaitable[bytes]]
"""JSON on one line."""

HEARTBEAT = b": still here\n\n"
"""A comment that keeps the connection alive through proxies."""


class Channel:
    """Calls ``read`` every ``every_s``; events are server-sent events (WHATWG). A failed read is an
    event ``trouble`` with the error's code."""

    def __init__(self, read: Read, every_s: float, clock: Clock) -> None:
        self._read = read
        self._every_s = every_s
        self._clock = clock
        self._event = b""
        self._number = 0
        self._changed = asyncio.Event()
        self._poller: asyncio.Task[None] | None = None
        self.watchers = 0

    async def events(self, lasting_s: float, heartbeat_s: float) -> AsyncIterator[bytes]:
        """The newest event at once, then each newer one, for ``lasting_s`` seconds."""
        ends_at, seen = self._clock.monotonic() + lasting_s, 0
        with self._watched():
            yield b"retry: 2000\n\n"
            while (left_s := ends_at - self._clock.monotonic()) > 0:
                if seen != self._number:
                    seen = self._number
                    yield self._event
                elif not await self._next(min(heartbeat_s, left_s)):
                    yield HEARTBEAT

    async def _next(self, timeout_s: float) -> bool:
        if self._poller is not None and self._poller.done():
            self._poller.result()
        try:
            await asyncio.wait_for(self._changed.wait(), timeout_s)
        except TimeoutError:
            return False
        return True

    @contextmanager
    def _watched(self) -> Iterator[None]:
        self.watchers += 1
        if self._poller is None:
            self._poller = asyncio.create_task(self._poll(), name="console-channel")
        try:
            yield
        finally:
            self.watchers -= 1
            if not self.watchers:
                self._poller.cancel()
                self._poller = None

    async def _poll(self) -> None:
        while True:
            event = await self._told()
            if event != self._event:
                self._event, self._number = event, self._number + 1
                self._changed.set()
                self._changed = asyncio.Event()
            await self._clock.sleep(self._every_s)

    async def _told(self) -> bytes:
        try:
            return b"data: " + await self._read() + b"\n\n"
        except DiaError as error:
            return trouble(error)


def trouble(error: DiaError) -> bytes:
    """Without servers and addresses."""
    said = str(error) if isinstance(error, RequestRefused) else "a part of it does not answer now"
    body = msgspec.json.encode({"code": error.code, "detail": said})
    return b"event: trouble\ndata: " + body + b"\n\n"
