"""Recent minutes of one series, summed over incarnations, read from its shard. Behind a breaker:
waiting jobs hold neither a thread nor a connection."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final, NamedTuple

from streams.connect.sinks import sharding
from streams.connect.sinks.clickhouse import Shard, reading_groups
from streams.connect.sinks.replica import Replica
from streams.core.clock import Clock
from streams.core.errors import ShardUnavailable
from streams.core.resilience.breaker import Breaker, BreakerPolicy
from streams.core.settings import Settings
from streams.core.telemetry.metrics import Metrics

ANSWER_S: Final = 5.0
"""of a replica"""
_GRACE_S: Final = 1.0
_QUERIES: Final = 4
"""concurrent, per shard"""
BREAKER: Final = BreakerPolicy(failures=3, window_s=60.0, open_s=10.0, successes=1)

_SQL = """
SELECT toUnixTimestamp(w), sum(n), sum(s1), sumMap(sk_k, sk_n) AS sketch
FROM m1_local FINAL
WHERE tenant = {tenant:String} AND model = {model:String} AND metric = {metric:String}
    AND w >= toDateTime({start:UInt32}, 'UTC') AND w < toDateTime({stop:UInt32}, 'UTC')
GROUP BY w
ORDER BY w
"""


class Minute(NamedTuple):
    """``codes`` and ``counts`` are its sketch."""

    start_s: int
    n: int
    total: float
    codes: list[int]
    counts: list[int]


class MinuteReader:
    """Queries the replicas in turn, in threads; keeps connections."""

    def __init__(self, settings: Settings, clock: Clock, metrics: Metrics) -> None:
        impatient = replace(settings, sink_timeout_s=ANSWER_S, sink_pool_size=_QUERIES)
        groups = settings.shards()
        self._map = sharding.declared(settings) if groups else None
        self._shards = [
            Shard(index, group, _QUERIES, ANSWER_S)
            for index, group in enumerate(reading_groups(impatient))
        ]
        self._deadlines_s = [ANSWER_S * len(urls) + _GRACE_S for urls in groups]
        self.breakers = [
            Breaker(f"history_shard_{index}", BREAKER, (ShardUnavailable,), clock, metrics)
            for index in range(len(groups))
        ]

    def shard_of(self, tenant: str, model: str, metric: str) -> int:
        """0 where no shard is configured."""
        if self._map is None:
            return 0
        return int(self._map.shard_of([tenant], [model], [metric])[0])

    async def read(
        self, tenant: str, model: str, metric: str, start_s: int, stop_s: int
    ) -> list[Minute]:
        """Minutes that begin in the range, ascending, within `ANSWER_S` per replica. Raises
        `ShardUnavailable`, `ShardBusy`, `PoolExhausted`, and `BreakerOpen` without a query."""
        if self._map is None:
            raise ShardUnavailable("no ClickHouse shard is known: set DIA_CLICKHOUSE_SHARDS.")
        shard = self.shard_of(tenant, model, metric)
        parameters = {
            "tenant": tenant,
            "model": model,
            "metric": metric,
            "start": start_s,
            "stop": stop_s,
        }

        def ask(replica: Replica) -> list[Minute]:
            rows = replica.query(_SQL, parameters)[1]
            return [
                Minute(int(w), int(n), float(s1), list(codes), list(counts))
                for w, n, s1, (codes, counts) in rows
            ]

        return await self.breakers[shard].call(
            lambda: self._shards[shard].run(ask, self._deadlines_s[shard])
        )

    async def close(self) -> None:
        for shard in self._shards:
            await asyncio.to_thread(shard.close)
