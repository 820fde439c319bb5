"""What the pipeline holds after a run, read from the shards and from Kafka."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

import pyarrow as pa

from streams import headers
from streams.demo.reconcile import Found
from streams.settings import Settings
from streams.sinks.clickhouse import replicas
from streams.topology import DIA_GROUP, SourceTopic
from streams.types import Admin, Broker, LogReader, TopicPartition

# Each shard's own rows, not the view over all shards: a row on the wrong shard must be seen.
_WINDOWS = (
    "SELECT toString(tenant) AS tenant, toString(model) AS model, toString(metric) AS metric, "
    "toUnixTimestamp(w) AS w, sum(n) AS n, sum(s1) AS s1 FROM m1_local FINAL "
    "GROUP BY tenant, model, metric, w"
)
_VISIBLE = "SELECT sum(n) FROM m1_local FINAL"
_LEDGER = (
    "SELECT sum(read), sum(applied), sum(duplicates), sum(dead), sumMap(dead_by_code) "
    "FROM ledger_local FINAL WHERE grp = {group:String} AND topic = {topic:String}"
)
_DEAD = (
    "SELECT error_code, count() FROM dead_letters_local FINAL "
    "WHERE topic = {topic:String} GROUP BY error_code"
)
_COUNTERS = ("read", "applied", "duplicates", "dead")


class Reading:
    """Questions about one source topic, asked of every shard and of Kafka. Close it after use."""

    def __init__(self, settings: Settings, broker: Broker, topic: SourceTopic) -> None:
        self._topic = topic
        self._broker = broker
        # A series has one row on one replica of its shard, whichever is asked.
        self._shards = [replicas(settings, urls)[0] for urls in settings.shards()]

    async def visible_events(self) -> int:
        """Events that a query of the minute windows counts now."""
        counts = await asyncio.gather(
            *(asyncio.to_thread(shard.query, _VISIBLE) for shard in self._shards)
        )
        return sum(int(rows[0][0]) for _, rows in counts)

    async def unread(self) -> int:
        """Records of the topic that the group has not committed yet."""
        reader, admin = await self._broker.reader(), await self._broker.admin()
        try:
            return await self._unread(reader, admin)
        finally:
            await reader.close()
            await admin.close()

    async def everything(self) -> Found:
        """All that `streams.demo.reconcile` compares."""
        tables = await asyncio.gather(
            *(asyncio.to_thread(shard.columns, _WINDOWS) for shard in self._shards)
        )
        ledger, dead_in_ledger = await asyncio.to_thread(self._ledger)
        reader = await self._broker.reader()
        try:
            return Found(
                windows=pa.concat_tables(tables),
                topic_records=await self._records(reader),
                ledger=ledger,
                dead_in_ledger=dead_in_ledger,
                dead_in_dlq=await self._dlq(reader),
                dead_in_rows=await asyncio.to_thread(self._dead_rows),
            )
        finally:
            await reader.close()

    def close(self) -> None:
        for shard in self._shards:
            shard.close()

    def _partitions(self, name: str) -> Sequence[TopicPartition]:
        return [TopicPartition(name, number) for number in range(self._topic.partitions)]

    async def _unread(self, reader: LogReader, admin: Admin) -> int:
        partitions = self._partitions(self._topic.name)
        committed = await admin.committed(DIA_GROUP, partitions)
        lag = 0
        for tp in partitions:
            done = committed[tp].offset if tp in committed else await reader.beginning_offset(tp)
            lag += max(0, await reader.last_stable_offset(tp) - done)
        return lag

    async def _records(self, reader: LogReader) -> int:
        """Producers to a source topic use no transactions: every offset is a record."""
        partitions = self._partitions(self._topic.name)
        return sum([await reader.last_stable_offset(tp) for tp in partitions])

    async def _dlq(self, reader: LogReader) -> Counter[str]:
        codes: Counter[str] = Counter()
        for tp in self._partitions(self._topic.dlq):
            offset = await reader.beginning_offset(tp)
            while (batch := await reader.read(tp, offset)).end > offset:
                name = headers.DLQ_PREFIX + "error_code"
                codes.update((headers.last(h, name) or b"?").decode() for h in batch.headers)
                offset = batch.end
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
