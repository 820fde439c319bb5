"""The end of a partition's task, which a member's listener waits for."""

from __future__ import annotations

import asyncio

from streams.core.clock import Clock
from streams.core.errors import PartitionStuck
from streams.core.resilience.cancellation import CANCELLATIONS, ENDS_WITHIN_S, cancel
from streams.core.types import TopicPartition


async def end(task: asyncio.Task[None], tp: TopicPartition, clock: Clock) -> None:
    """Cancel ``task`` and wait for its end. Raises `PartitionStuck`."""
    if not await cancel(task, clock, str(tp)):
        raise PartitionStuck(
            f"the task of {tp} was cancelled {CANCELLATIONS} times within "
            f"{CANCELLATIONS * ENDS_WITHIN_S:g} s and goes on. Restart the worker: the partition's "
            "next owner continues at the last commit."
        )
