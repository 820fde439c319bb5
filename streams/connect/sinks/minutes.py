"""Recent minutes of one series, summed over incarnations, read from its shards.

After `BREAKER.failures` consecutive failures a shard is not queried for `BREAKER.open_s`; waiting
jobs hold neither a thread nor a connection.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Final, NamedTuple

from streams.connect.sinks.live_shards import LiveShards
from streams.connect.sinks.moved_rows import counted
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
WHERE n > 0 AND tenant = {tenant:String} AND model = {model:String} AND metric = {metric:String}
    AND w >= toDateTime({start:UInt32}, 'UTC') AND w < toDateTime({stop:UInt32}, 'UTC')%s
GROUP BY w
ORDER BY w
"""
"""``%s``: what counts on the shard"""


class Minute(NamedTuple):
    """``codes`` and ``counts`` are its sketch."""

    start_s: int
    n: int
    total: float
    codes: list[int]
    counts: list[int]


def _joined(parts: Sequence[Sequence[Minute]]) -> list[Minute]:
    """The minutes of several shards. One minute is on two of them only where partitions took a map
    on different days."""
    found: dict[int, Minute] = {}
    for minute in (minute for part in parts for minute in part):
        other = found.setdefault(minute.start_s, minute)
        if other is minute:
            continue
        sketch = Counter(dict(zip(other.codes, other.counts, strict=True)))
        sketch.update(dict(zip(minute.codes, minute.counts, strict=True)))
        codes = sorted(sketch)
        found[minute.start_s] = Minute(
            minute.start_s,
            other.n + minute.n,
            other.total + minute.total,
            codes,
            [sketch[code] for code in codes],
        )
    return [found[start_s] for start_s in sorted(found)]


class MinuteReader:
    """Queries the replicas in turn, in threads; keeps connections."""

    def __init__(self, settings: Settings, clock: Clock, metrics: Metrics) -> None:
        self._clock, self._metrics = clock, metrics
        bounded = replace(settings, sink_timeout_s=ANSWER_S, sink_pool_size=_QUERIES)
        self._shards = LiveShards(bounded, clock, self._breaker, acquire_s=ANSWER_S)

    def _breaker(self, index: int) -> Breaker:
        name = f"history_shard_{index}"
        return Breaker(name, BREAKER, (ShardUnavailable,), self._clock, self._metrics)

    @property
    def breakers(self) -> Sequence[Breaker]:
        return self._shards.breakers

    def shard_of(self, tenant: str, model: str, metric: str) -> int:
        """The shard that has the newest windows of the series; 0 where none is configured."""
        known = self._shards.known
        if known is None:
            return 0
        newest = known.newest.record.shard_map
        return int(newest.shard_of([tenant], [model], [metric])[0])

    async def read(
        self, tenant: str, model: str, metric: str, start_s: int, stop_s: int
    ) -> list[Minute]:
        """Minutes that begin in the range, ascending, within `ANSWER_S` per replica.

        Raises `ShardUnavailable`, `ShardBusy`, `PoolExhausted`, `ShardMapChanged`, and
        `BreakerOpen` without a query.
        """
        known = await self._shards.fresh()
        parameters = {
            "tenant": tenant,
            "model": model,
            "metric": metric,
            "start": start_s,
            "stop": stop_s,
        }

        def ask(shard: int, replica: Replica) -> list[Minute]:
            rows = replica.query(_SQL % counted(known, shard), parameters)[1]
            return [
                Minute(int(w), int(n), float(s1), list(codes), list(counts))
                for w, n, s1, (codes, counts) in rows
            ]

        async def of_shard(shard: int) -> list[Minute]:
            deadline_s = ANSWER_S * len(known.urls[shard]) + _GRACE_S
            return await self.breakers[shard].call(
                lambda: self._shards.run(known, shard, partial(ask, shard), deadline_s)
            )

        parts = await asyncio.gather(*map(of_shard, known.shards_of(tenant, model, metric)))
        return parts[0] if len(parts) == 1 else _joined(parts)

    async def close(self) -> None:
        await self._shards.close()
