"""The end of a partition's task, which a member's listener waits for.

A client library may suppress a cancellation: it is repeated, and the wait is bounded.
"""

from __future__ import annotations

import asyncio

import structlog

from streams.core.clock import Clock
from streams.core.errors import PartitionStuck
from streams.core.types import TopicPartition

_CANCELLATIONS = 3
_ENDS_WITHIN_S = 5.0

log = structlog.get_logger(__name__)


async def end(task: asyncio.Task[None], tp: TopicPartition, clock: Clock) -> None:
    """Cancel ``task`` and wait for its end. Raises `PartitionStuck`."""
    for _ in range(_CANCELLATIONS):
        task.cancel()
        await clock.wait(task, _ENDS_WITHIN_S)
        if task.done():
            await asyncio.gather(task, return_exceptions=True)
            return
        log.error("cancellation_suppressed", tp=str(tp))
    raise PartitionStuck(
        f"the task of {tp} was cancelled {_CANCELLATIONS} times within "
        f"{_CANCELLATIONS * _ENDS_WITHIN_S:g} s and goes on. Restart the worker: the partition's "
        "next owner continues at the last commit."
    )
