"""The last minutes of one series, incarnations added up, from the one shard that holds it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from streams.errors import ShardUnavailable
from streams.settings import Settings
from streams.sinks import sharding
from streams.sinks.clickhouse import replicas
from streams.sinks.replica import Replica

_SQL = """
SELECT toUnixTimestamp(w), sum(n), sum(s1), sumMap(sk_k, sk_n) AS sketch
FROM m1_local FINAL
WHERE tenant = {tenant:String} AND model = {model:String} AND metric = {metric:String}
    AND w >= toDateTime({start:UInt32}, 'UTC') AND w < toDateTime({stop:UInt32}, 'UTC')
GROUP BY w
ORDER BY w
"""


class Minute(NamedTuple):
    """One minute that has values; ``codes`` and ``counts`` are its sketch."""

    start_s: int
    n: int
    total: float
    codes: list[int]
    counts: list[int]


class MinuteReader:
    """Asks the replicas of a series' shard in turn, in threads; connections are kept."""

    def __init__(self, settings: Settings) -> None:
        groups = settings.shards()
        self._map = sharding.load(settings.sharding, len(groups)) if groups else None
        self._shards = [replicas(settings, urls) for urls in groups]

    async def read(
        self, tenant: str, model: str, metric: str, start_s: int, stop_s: int
    ) -> list[Minute]:
        """Minutes that begin in the range, ascending. Raises `ShardUnavailable`."""
        if self._map is None:
            raise ShardUnavailable("no ClickHouse shard is known: set DIA_CLICKHOUSE_SHARDS.")
        shard = int(self._map.shard_of([tenant], [model], [metric])[0])
        parameters = {
            "tenant": tenant,
            "model": model,
            "metric": metric,
            "start": start_s,
            "stop": stop_s,
        }
        return await asyncio.to_thread(_ask, self._shards[shard], parameters)

    async def close(self) -> None:
        for group in self._shards:
            for replica in group:
                await asyncio.to_thread(replica.close)


def _ask(group: Sequence[Replica], parameters: dict[str, object]) -> list[Minute]:
    failures: list[ShardUnavailable] = []
    for replica in group:
        try:
            rows = replica.query(_SQL, parameters)[1]
        except ShardUnavailable as error:
            failures.append(error)
            continue
        return [
            Minute(int(w), int(n), float(s1), list(codes), list(counts))
            for w, n, s1, (codes, counts) in rows
        ]
    raise ShardUnavailable("; ".join(str(failure) for failure in failures)) from failures[-1]
