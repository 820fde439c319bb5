"""Reads the contents of the pipeline from the shards and from Kafka."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from agents.app import DIA_GROUP
from streams.connect.broker.log_range import decided_end, read_range
from streams.connect.sinks import shard_maps
from streams.connect.sinks.clickhouse import shard_replicas
from streams.connect.sinks.moved_rows import counted
from streams.connect.sinks.replica import Replica
from streams.core.clock import SystemClock
from streams.core.records import headers
from streams.core.settings import Settings
from streams.core.topics.topic import Topic
from streams.core.types import Admin, Broker, LogReader, TopicPartition
from streams.dev.demo.reconcile import Found

# Each shard's own rows, not the view over all: a row on the wrong shard must show.
_WINDOWS = (
    "SELECT toString(tenant) AS tenant, toString(model) AS model, toString(metric) AS metric, "
    "toUnixTimestamp(w) AS w, sum(n) AS n, sum(s1) AS s1 FROM "
    "(SELECT * FROM m1_local FINAL WHERE 1{counted}) GROUP BY tenant, model, metric, w"
)
_VISIBLE = "SELECT sum(n) FROM m1_local FINAL WHERE 1{counted}"
_LEDGER = (
    "SELECT sum(read), sum(applied), sum(duplicates), sum(dead), sumMap(dead_by_code) "
    "FROM ledger_local FINAL WHERE grp = {group:String} AND topic = {topic:String}"
)
_DEAD = (
    "SELECT error_code, count() FROM dead_letters_local FINAL "
    "WHERE topic = {topic:String} GROUP BY error_code"
)
_COUNTERS = ("read", "applied", "duplicates", "dead")


@dataclass(eq=False)
class TopicReading:
    """Of every shard and of Kafka. Close it after use."""

    _settings: Settings
    _shards: Sequence[Replica]
    _reader: LogReader
    _admin: Admin
    _topic: Topic

    @classmethod
    async def open(cls, settings: Settings, broker: Broker, topic: Topic) -> TopicReading:
        """Queries the first replica of each shard."""
        groups = await asyncio.to_thread(shard_replicas, settings)
        shards = [found[0] for found in groups]
        return cls(settings, shards, await broker.reader(), await broker.admin(), topic)

    async def close(self) -> None:
        await self._reader.close()
        await self._admin.close()
        for shard in self._shards:
            shard.close()

    async def visible_events(self) -> int:
        counts = await asyncio.gather(
            *(
                asyncio.to_thread(shard.query, sql)
                for shard, sql in zip(self._shards, await self._each(_VISIBLE), strict=True)
            )
        )
        return sum(int(rows[0][0]) for _, rows in counts)

    async def unread(self) -> int:
        """Records that the group has not committed."""
        partitions = self._partitions(self._topic.name)
        committed = await self._admin.committed(DIA_GROUP, partitions, stable=False)
        lag = 0
        for tp in partitions:
            done = committed[tp].offset if tp in committed else 0
            lag += max(0, await self._reader.last_stable_offset(tp) - done)
        return lag

    async def balance(self) -> dict[str, int]:
        """Counts of which some must be equal: records of the topic, the ledger's, events in windows, rows of
        dead letters. What is on its way between two of them makes them differ for seconds."""
        # Downstream counts first: what arrives meanwhile makes none of them larger than one upstream.
        dead_rows = sum((await asyncio.to_thread(self._dead_rows)).values())
        visible = await self.visible_events()
        ledger, _ = await asyncio.to_thread(self._ledger)
        counts = {name: ledger[name] for name in _COUNTERS}
        return {
            "topic": await self._records(),
            **counts,
            "visible": visible,
            "dead_rows": dead_rows,
        }

    async def everything(self) -> Found:
        tables = await asyncio.gather(
            *(
                asyncio.to_thread(shard.columns, sql)
                for shard, sql in zip(self._shards, await self._each(_WINDOWS), strict=True)
            )
        )
        ledger, dead_in_ledger = await asyncio.to_thread(self._ledger)
        return Found(
            windows=pa.concat_tables(tables),
            topic_records=await self._records(),
            ledger=ledger,
            dead_in_ledger=dead_in_ledger,
            dead_in_dlq=await self._dlq(),
            dead_in_rows=await asyncio.to_thread(self._dead_rows),
        )

    async def _each(self, sql: str) -> list[str]:
        """The statement for each shard, with what counts there now."""
        known = await asyncio.to_thread(shard_maps.told, self._settings)
        return [sql.format(counted=counted(known, shard)) for shard in range(len(self._shards))]

    def _partitions(self, name: str) -> Sequence[TopicPartition]:
        return [TopicPartition(name, number) for number in range(self._topic.partitions)]

    async def _records(self) -> int:
        """Producers to a source topic use no transactions: every offset is a record."""
        partitions = self._partitions(self._topic.name)
        return sum([await self._reader.last_stable_offset(tp) for tp in partitions])

    async def _dlq(self) -> Counter[str]:
        codes: Counter[str] = Counter()
        for tp in self._partitions(self._topic.dlq):
            offset = await self._reader.beginning_offset(tp)
            end = await decided_end(self._reader, tp, SystemClock())
            async for batch in read_range(self._reader, tp, offset, end):
                name = headers.DLQ_PREFIX + "error_code"
                codes.update((headers.last(h, name) or b"?").decode() for h in batch.headers)
        return codes

    def _ledger(self) -> tuple[Counter[str], Counter[str]]:
        totals: Counter[str] = Counter()
        dead: Counter[str] = Counter()
        asked = {"group": DIA_GROUP, "topic": self._topic.name}
        for shard in self._shards:
            _, rows = shard.query(_LEDGER, asked)
            *counters, by_code = rows[0]
            totals.update(dict(zip(_COUNTERS, map(int, counters), strict=True)))
            dead.update({code: int(count) for code, count in by_code.items()})
        return totals, dead

    def _dead_rows(self) -> Counter[str]:
        codes: Counter[str] = Counter()
        for shard in self._shards:
            _, rows = shard.query(_DEAD, {"topic": self._topic.name})
            codes.update({str(code): int(count) for code, count in rows})
        return codes
