"""Bounded thread pools that cannot starve one another: inserts, so that dashboards do not delay the
pipeline; reads from a peer shard (``log_comment=dia_sister``), so that two shards cannot
deadlock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from streams.dev.local.clickhouse_front.errors import TOO_MANY_SIMULTANEOUS_QUERIES, StatementFailed

SISTER_COMMENT = "dia_sister"

T = TypeVar("T")


class StatementLane:
    """At most ``waiting_max`` statements are queued."""

    def __init__(self, name: str, threads: int, waiting_max: int) -> None:
        self.name = name
        self._places = threads + waiting_max
        self._taken = 0
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"{name}-lane")

    async def run(self, work: Callable[[], T]) -> T:
        """Code 202 when threads and queue are full. The work completes even when the waiting task
        is cancelled."""
        if self._taken >= self._places:
            raise StatementFailed(
                TOO_MANY_SIMULTANEOUS_QUERIES,
                f"Too many simultaneous queries: {self._taken} in the {self.name} lane.",
            )
        self._taken += 1
        future = asyncio.get_running_loop().run_in_executor(self._pool, work)
        future.add_done_callback(self._leave)
        return await asyncio.shield(future)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _leave(self, _future: asyncio.Future[T]) -> None:
        self._taken -= 1
