"""The child process of a `TrainingLog`: keeps what it is handed, and sends it to an edge.

It ends when its pipe has ended and nothing is left, which is `SenderConfig.cache_s` later at most. The
pipe brings the configuration and ends with the training; all else is in the ring."""

from __future__ import annotations

import asyncio
import io
import os
import select
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final, Protocol

import msgspec

from streams.core.clock import Clock, SystemClock
from streams.core.errors import RequestRefused
from streams.http.edge.client import AGAIN, EdgeClient, Posted
from streams.http.edge.training.frames import (
    RowFrame,
    SenderConfig,
    SenderStatus,
    frames,
    read_config,
)
from streams.http.edge.training.logged_point import observed
from streams.http.edge.training.ring import Ring

PATIENCE_S: Final = 5.0
"""Of one attempt, shorter than the cache: older frames are dropped between two."""
STATUS_S: Final = 1.0
READING_S: Final = 0.02
"""From one reading of the ring to the next."""
ERROR_CHARS: Final = 500
"""So that a status of JSON has less than `STATUS_BYTES`."""
CHUNK_BYTES: Final = 160_000
"""8,000 points"""


class Poster(Protocol):
    async def post(self, topic: str, events: list[dict[str, object]]) -> Posted: ...


class TrainingSender:
    """Sends frames in their order. Beyond the bound of bytes the oldest are dropped."""

    def __init__(self, config: SenderConfig, clock: Clock) -> None:
        self.status = SenderStatus()
        self._config = config
        self._clock = clock
        self._kept: deque[tuple[float, RowFrame]] = deque()
        self._kept_bytes = 0
        self._came = asyncio.Event()
        self._ended = False

    def take(self, frame: RowFrame | None) -> None:
        """None: no other one follows."""
        if frame is None:
            self._ended = True
        else:
            self._kept.append((self._clock.monotonic(), frame))
            self._kept_bytes += len(frame.rows)
            while self._kept_bytes > self._config.cache_bytes:
                self._drop()
        self._came.set()

    async def run(self, client: Poster, topic: str) -> None:
        """Return when all is sent, rejected or dropped, and no other frame follows."""
        while True:
            while self._kept:
                await self._send(client, topic)
            if self._ended:
                return
            self._came.clear()
            await self._came.wait()

    async def _send(self, client: Poster, topic: str) -> None:
        at_s, frame = self._kept[0]
        if self._clock.monotonic() - at_s > self._config.cache_s:
            self._drop()
            return
        # It may be dropped for newer ones while it is on its way, and is counted as sent then.
        self._pop()
        try:
            posted = await client.post(topic, frame.events(self._config))
        except RequestRefused as error:
            self._failed(f"{error.code}: {error}")
            if error.status in AGAIN:
                self._kept.appendleft((at_s, frame))
                self._kept_bytes += len(frame.rows)
            else:
                self.status.rejected += len(frame)
        else:
            self.status.accepted += posted.accepted
            self.status.rejected += len(posted.rejected)
            if posted.rejected:
                first = posted.rejected[0]
                self._failed(f"{first.code}: {first.message}")

    def _failed(self, why: str) -> None:
        self.status.last_error = why[:ERROR_CHARS]

    def _drop(self) -> None:
        self.status.dropped += len(self._pop())

    def _pop(self) -> RowFrame:
        _, frame = self._kept.popleft()
        self._kept_bytes -= len(frame.rows)
        return frame


def chunks(pipe: BinaryIO, ring: Ring) -> Iterator[bytes]:
    """What is written to ``ring``, until ``pipe`` has ended."""
    while not select.select([pipe], [], [], READING_S)[0]:
        yield from ring.read(CHUNK_BYTES)
    for _ in range(2):
        yield from ring.read(CHUNK_BYTES)
        time.sleep(READING_S)


async def serve(pipe: BinaryIO, ring: Ring, say: Callable[[SenderStatus], None]) -> None:
    """``pipe``: with one configuration of frames.py."""
    config = await asyncio.to_thread(read_config, pipe)
    if config is None:
        return
    loop, clock = asyncio.get_running_loop(), SystemClock()
    sender = TrainingSender(config, clock)

    def listen() -> None:
        for frame in frames(chunks(pipe, ring), {}):
            loop.call_soon_threadsafe(sender.take, frame)
        _leave_output()
        loop.call_soon_threadsafe(sender.take, None)

    threading.Thread(target=listen, daemon=True).start()
    topics = observed(config.topic)
    async with EdgeClient(config.url, config.token, topics, patience_s=PATIENCE_S) as client:
        saying = asyncio.create_task(_say(sender, clock, say))
        try:
            await sender.run(client, config.topic)
        finally:
            saying.cancel()
            say(sender.status)


async def _say(sender: TrainingSender, clock: Clock, say: Callable[[SenderStatus], None]) -> None:
    while True:
        await clock.sleep(STATUS_S)
        say(sender.status)


def _leave_output() -> None:
    """A reader of the training's output waits for the training's end, and not for the sender's."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    os.close(nothing)


def main() -> None:
    def say(status: SenderStatus) -> None:
        ring.say(msgspec.json.encode(status))

    ring = Ring(int(sys.argv[1]))
    try:
        asyncio.run(serve(io.FileIO(sys.stdin.fileno(), closefd=False), ring, say))
    finally:
        ring.end()


if __name__ == "__main__":
    main()
