"""Waits for the schema registry when the next list of a partition cannot be decoded.

 Y1  decoding raises `SchemaPending`: nothing of the list is folded, the consumer is paused   `begin`
 Y2  the registry is asked until it answers; commits and heartbeats continue
 Y3  after the answer, or once the list is shed (X4), the partition reads on from its
     position                                                                                `over`

So an outage of the registry dead-letters no record.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

import structlog

from streams.core.clock import Clock
from streams.core.errors import Pending, TransientError
from streams.core.resilience.backoff import Backoff
from streams.core.types import TopicPartition

FIRST_PAUSE_S: Final = 0.2
LONGEST_PAUSE_S: Final = 10.0

log = structlog.get_logger(__name__)


class Waiting(Protocol):
    """``waits_for``: why the registry does not answer; "" if it does."""

    waits_for: str


async def obtained(pending: Pending, clock: Clock, tp: TopicPartition, waiting: Waiting) -> None:
    """Ask until the registry answers. Raises `SchemaRefused` if it refuses to register a schema."""
    backoff = Backoff(clock, FIRST_PAUSE_S, LONGEST_PAUSE_S)
    waiting.waits_for = f"{pending.code}: {pending}"
    while True:
        try:
            await pending.obtain()
        except TransientError as error:
            log.warning("schema_registry_away", tp=str(tp), code=error.code, why=str(error))
            waiting.waits_for = f"{error.code}: {error}"
        else:
            waiting.waits_for = ""
            return
        await backoff.pause()


class SchemaWait:
    def __init__(self, tp: TopicPartition, clock: Clock) -> None:
        self.waits_for = ""
        self._tp = tp
        self._clock = clock
        self._task: asyncio.Task[None] | None = None

    @property
    def held(self) -> bool:
        return self._task is not None

    def begin(self, pending: Pending) -> None:
        """Y1. The partition folds nothing until `over`."""
        asking = obtained(pending, self._clock, self._tp, self)
        self._task = asyncio.create_task(asking, name=f"schemas-{self._tp}")

    def over(self) -> bool:
        """Y3: whether the wait ended since the last call. Raises the error of the request."""
        task = self._task
        if task is None or not task.done():
            return False
        self._task = None
        if not task.cancelled():
            task.result()
        self.waits_for = ""
        return True

    def give_up(self) -> None:
        """The records that wait are skipped."""
        if self._task is not None:
            self._task.cancel()

    def end(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
        self.waits_for = ""
