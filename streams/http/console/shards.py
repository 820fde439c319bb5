"""Queries to the ClickHouse shards, bounded in time, rows, memory and number."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, TypeAlias

from streams.connect.access.fair_semaphore import FairSemaphore
from streams.connect.access.refusals import Overloaded
from streams.connect.sinks.live_shards import LiveShards
from streams.connect.sinks.replica import Replica
from streams.connect.sinks.shard_maps import KnownMaps
from streams.connect.sinks.window_views.view import WindowPoints, WindowReading
from streams.core.clock import Clock
from streams.core.degradation.degradation import shard_signal
from streams.core.errors import PoolExhausted, ShardUnavailable
from streams.core.resilience.breaker import Breaker, BreakerPolicy
from streams.core.settings import Settings
from streams.core.telemetry.metrics import Metrics

Rows: TypeAlias = Sequence[Sequence[Any]]

ANSWER_S: Final = 5.0
_GRACE_S: Final = 2.0
_ACQUIRE_S: Final = 5.0
_QUERIES: Final = 4
"""concurrent, of one shard"""
BREAKER: Final = BreakerPolicy(failures=5, window_s=30.0, open_s=5.0, successes=1, consecutive=True)
LIMITS: Final[Mapping[str, Any]] = {
    "readonly": 2,
    "max_execution_time": ANSWER_S,
    "max_result_rows": 100_000,
    "max_result_bytes": 64 << 20,
    "result_overflow_mode": "throw",
    "max_memory_usage": 1 << 30,
}


class ShardReader:
    """One a process; it keeps its connections. A breaker opens for a failing shard; a shard that
    the workers report as unavailable (``away``) is skipped."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        metrics: Metrics,
        away: Callable[[int], bool] = lambda shard: False,
    ) -> None:
        self._away = away
        self._clock, self._metrics = clock, metrics
        bounded = replace(settings, sink_timeout_s=ANSWER_S + _GRACE_S, sink_pool_size=_QUERIES)
        self._shards = LiveShards(bounded, clock, self._breaker, acquire_s=_ACQUIRE_S)
        self._turns: list[FairSemaphore] = []
        self._take_turns()

    def _breaker(self, index: int) -> Breaker:
        return Breaker(
            shard_signal(index), BREAKER, (ShardUnavailable,), self._clock, self._metrics
        )

    def _take_turns(self) -> None:
        for _ in range(len(self._turns), len(self)):
            # One place stays free for other tenants.
            self._turns.append(
                FairSemaphore(
                    "questions", places=_QUERIES, owner_max=_QUERIES - 1, wait_s=_ACQUIRE_S
                )
            )

    @property
    def breakers(self) -> Sequence[Breaker]:
        return self._shards.breakers

    def __len__(self) -> int:
        return len(self._shards)

    @property
    def behind_s(self) -> float:
        """As `LiveShards.behind_s`."""
        return self._shards.behind_s

    async def of_windows(self, reading: WindowReading) -> WindowPoints:
        """Raises `ShardUnavailable`, `ShardBusy`, `PoolExhausted`, `BreakerOpen`, `ShardMapChanged`,
        and `StatementRefused` for a result beyond `LIMITS`.
        """
        known = await self.known()
        found = await asyncio.gather(
            *(
                self._ask(known, shard, *statement, owner=reading.owner)
                for shard, statement in reading.asked(known)
            )
        )
        return reading.points(found)

    async def of_all(
        self, sql: str, parameters: Mapping[str, Any], *, owner: str | None = None
    ) -> Rows:
        """In shard order. ``owner``: the tenant whose share of the shards it takes; None: the parameter
        ``tenant``, "" without one. Raises as `of_windows`."""
        known = await self.known()
        owner = str(parameters.get("tenant", "")) if owner is None else owner
        found = await asyncio.gather(
            *(self._ask(known, shard, sql, parameters, owner=owner) for shard in range(len(self))),
            return_exceptions=True,
        )
        rows: list[Sequence[Any]] = []
        for one in found:
            if isinstance(one, BaseException):
                raise one
            rows += one
        return rows

    async def alive(self, shard: int) -> None:
        """Raises as `of_windows` where the shard does not answer."""
        await self._ask(await self.known(), shard, "SELECT 1", {}, owner="")

    async def close(self) -> None:
        await self._shards.close()

    async def known(self) -> KnownMaps:
        """As `LiveShards.fresh`."""
        known = await self._shards.fresh()
        self._take_turns()
        return known

    async def _ask(
        self,
        known: KnownMaps,
        shard: int,
        sql: str,
        parameters: Mapping[str, Any],
        *,
        owner: str,
    ) -> Rows:
        def ask(replica: Replica) -> Rows:
            return replica.query(sql, parameters, LIMITS)[1]

        if self._away(shard):
            raise ShardUnavailable(f"the workers report shard {shard} as unavailable")
        try:
            async with self._turns[shard].taken(owner):
                # The reader's own bound does not count as a failure of the shard.
                return await self.breakers[shard].call(
                    lambda: self._shards.run(known, shard, ask, ANSWER_S + _GRACE_S)
                )
        except Overloaded as error:
            raise PoolExhausted(str(error)) from None
