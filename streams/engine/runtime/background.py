"""Runs an app's background tasks in one worker process.

Sends are acknowledged by the broker but belong to no transaction: a crash may lose or repeat them.
Tasks have no tables. An exception is logged; a task with an interval or a cron expression runs
again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import structlog
from croniter import croniter

from streams.core.clock import Clock
from streams.core.errors import Pending
from streams.core.process.background_task import BackgroundTask
from streams.core.topics.current_stream import HeadersLike, Key, NoTables, Target, current
from streams.core.types import Broker, Headers, PlainProducer
from streams.engine.decode.codecs import settled
from streams.engine.streams.sending import header_pairs, key_bytes, made_here, value_bytes

_LOOK_S: Final = 60.0
"""between two looks at the time of day"""
_AHEAD_MAX_S: Final = 3600.0

log = structlog.get_logger(__name__)


def _next_s(task: BackgroundTask, behind_s: float) -> float:
    """The first minute of its expression behind ``behind_s``, in epoch seconds."""
    local = datetime.fromtimestamp(behind_s, UTC).astimezone(ZoneInfo(task.timezone))
    due: datetime = croniter(task.cron, local).get_next(datetime)
    return due.timestamp()


class Background:
    """Also the scope of pages and of commands of an app, which one region runs."""

    partition = -1
    tables: Mapping[str, Any] = NoTables(
        "a background task has no partition. Send to a topic whose agent writes the table."
    )

    def __init__(
        self, broker: Broker, clock: Clock, tasks: Sequence[BackgroundTask], region: str = ""
    ) -> None:
        """``region``: this one; "": there are no others."""
        self._region = region
        self._broker = broker
        self._clock = clock
        self._tasks = tasks
        self._producer: PlainProducer | None = None
        self._sending: set[asyncio.Task[None]] = set()
        self._starting = asyncio.Lock()

    async def run(self) -> None:
        current.set(_Tasks(self, self._region))
        try:
            async with asyncio.TaskGroup() as group:
                for task in self._tasks:
                    group.create_task(self._run(task), name=f"background-{task.name}")
        finally:
            await self._close()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """For code outside a task: the block's end waits for its sends. Raises their errors."""
        former = current.set(self)
        try:
            yield
            while self._sending:
                await asyncio.gather(*self._sending)
        finally:
            current.reset(former)
            await self._close()

    async def _close(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.close()

    async def _run(self, task: BackgroundTask) -> None:
        if task.interval_s is None and not task.cron:
            await self._once(task)
            return
        due_s = float("-inf")
        while True:
            if task.interval_s is not None:
                await self._clock.sleep(task.interval_s)
            else:
                due_s = await self._minute_of(task, due_s)
            await self._once(task)

    async def _minute_of(self, task: BackgroundTask, last_s: float) -> float:
        """Wait for the first minute of ``task`` behind ``last_s``, epoch seconds as the result. A sleep goes
        by another clock than the time of day: the end of a long one is before a minute as often as behind it.
        So that time is looked at again, and a minute that was run is not due again."""
        due_s = seen_s = float("inf")
        while (now_s := self._clock.now_ms() / 1000) < due_s:
            if now_s < seen_s:  # at first, and once the clock was set back
                # One that was far ahead does not hold up the minutes of the right time.
                behind_s = max(now_s, last_s) if last_s - now_s < _AHEAD_MAX_S else now_s
                due_s = _next_s(task, behind_s)
            seen_s = now_s
            await self._clock.sleep(min(due_s - now_s, _LOOK_S))
        return due_s

    async def _once(self, task: BackgroundTask) -> None:
        try:
            await task.run()
        except Exception:
            log.exception("background_task_failed", task=task.name)

    # --- for the code of a task --------------------------------------------------------------

    def send(
        self,
        topic: Target,
        key: Key = None,
        value: Any = None,
        *,
        partition: int | None = None,
        timestamp_s: float | None = None,
        headers: HeadersLike = None,
    ) -> asyncio.Task[None]:
        """Delivered when the returned task is done. Raises ValueError for ``partition`` or
        ``timestamp_s``, which only agents may set."""
        if partition is not None or timestamp_s is not None:
            raise ValueError(
                "outside an agent, a record has the partition of its key and its own time"
            )
        raw, pairs = key_bytes(topic, key, value), header_pairs(headers)
        with suppress(Pending):  # then `_send` encodes it once the registry answers
            value = value_bytes(topic, value)
        sending = asyncio.ensure_future(self._send(topic, raw, value, pairs))
        self._sending.add(sending)
        sending.add_done_callback(self._sending.discard)
        return sending

    async def _send(self, topic: Target, key: bytes | None, value: Any, headers: Headers) -> None:
        body = await settled(lambda: value_bytes(topic, value))
        async with self._starting:
            if self._producer is None:
                producer = self._broker.plain_producer()
                await producer.start()
                self._producer = producer
        await (await self._producer.send(topic.name, key, body, headers))


class _Tasks:
    """The scope in which the code of tasks runs: each region runs it, so mirrors leave its records alone."""

    partition = -1
    tables = Background.tables

    def __init__(self, background: Background, region: str) -> None:
        self._background = background
        self._region = region

    def send(
        self,
        topic: Target,
        key: Key = None,
        value: Any = None,
        *,
        headers: HeadersLike = None,
        **options: Any,
    ) -> asyncio.Task[None]:
        """As `Background.send`."""
        marked = made_here(headers, self._region)
        return self._background.send(topic, key, value, headers=marked, **options)
