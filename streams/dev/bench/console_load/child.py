"""The readers, in a process of their own so as not to disturb the measurement.

It reads a `ReadersTask` as one line of JSON, prints "ready", waits for a line, runs all readers, and
prints `ReadersResult` as JSON."""

from __future__ import annotations

import asyncio
import random
import sys
import time

import aiohttp
import msgspec

from streams.dev.bench.console_load.page_requests import ConsoleUser
from streams.dev.bench.console_load.reader import ANSWER_S, Reader, ReaderResult

READY = b"ready\n"
LINE_MAX_BYTES = 1 << 20
CONNECTIONS = 6
"""A browser's limit per server."""


class ReadersTask(msgspec.Struct, frozen=True, kw_only=True):
    """``people`` are (token, tenant, bound); they arrive within ``arrival_s`` and read for
    ``seconds``."""

    url: str
    people: list[tuple[str, str, bool]]
    arrival_s: float
    seconds: float
    seed: int


class ReadersResult(msgspec.Struct, frozen=True, kw_only=True):
    """As `ReaderResult`; ``cpu_s`` is that of this process."""

    seconds: dict[str, list[float]]
    errors: dict[str, int]
    unchanged: int
    events: int
    cpu_s: float


async def read_all(task: ReadersTask) -> ReadersResult:
    heard, rng, began_s = ReaderResult(), random.Random(task.seed), time.process_time()

    async def read(number: int, token: str, person: ConsoleUser) -> None:
        late_s = rng.uniform(0, task.arrival_s)
        await asyncio.sleep(late_s)
        async with aiohttp.ClientSession(
            task.url,
            connector=aiohttp.TCPConnector(limit=CONNECTIONS),
            # accept cookies of IP addresses, as browsers do
            cookie_jar=aiohttp.CookieJar(unsafe=True),
            timeout=aiohttp.ClientTimeout(total=ANSWER_S),
            read_bufsize=LINE_MAX_BYTES,
        ) as http:
            reader = Reader(http, token, person, heard, task.seed + number)
            await reader.run(task.arrival_s - late_s + task.seconds)

    async with asyncio.TaskGroup() as group:
        for number, (token, tenant, bound) in enumerate(task.people):
            group.create_task(read(number, token, ConsoleUser(tenant, bound)))
    return ReadersResult(
        seconds=dict(heard.seconds),
        errors=dict(heard.errors),
        unchanged=heard.unchanged,
        events=heard.events,
        cpu_s=time.process_time() - began_s,
    )


def main() -> None:
    task = msgspec.json.decode(sys.stdin.buffer.readline(), type=ReadersTask)
    sys.stdout.buffer.write(READY)
    sys.stdout.buffer.flush()
    if sys.stdin.buffer.readline():
        sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(read_all(task))) + b"\n")


if __name__ == "__main__":
    main()
