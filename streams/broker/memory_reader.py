"""Group-less reading of the in-memory broker, with the patience of the real client."""

from __future__ import annotations

from collections.abc import Iterable

from streams.broker.memory_cluster import Cluster
from streams.errors import BrokerUnavailable
from streams.types import LogBounds, RecordBatch, TopicPartition

ANSWER_TIMEOUT_S = 10.0
"""How long a call asks again; the time of a quota does not count."""
ASK_AGAIN_S = 0.1


class MemoryReader:
    """`LogReader` on a `Cluster`."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def beginning_offset(self, tp: TopicPartition) -> int:
        await self._cluster.call("read")
        return self._cluster.log(tp).start_offset

    async def last_stable_offset(self, tp: TopicPartition) -> int:
        await self._cluster.call("read")
        return self._cluster.log(tp).last_stable_offset

    async def bounds(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, LogBounds]:
        await self._cluster.call("read")
        logs = {tp: self._cluster.log(tp) for tp in partitions}
        return {tp: LogBounds(log.start_offset, log.last_stable_offset) for tp, log in logs.items()}

    async def high_watermark(self, tp: TopicPartition) -> int:
        await self._cluster.call("read")
        return self._cluster.log(tp).high_watermark

    async def read(self, tp: TopicPartition, offset: int, max_records: int = 5000) -> RecordBatch:
        clock = self._cluster.clock
        deadline_s = clock.monotonic() + ANSWER_TIMEOUT_S
        while True:
            await self._cluster.call("read")
            batch, stable, throttle_s = self._cluster.fetch(tp, offset, max_records)
            if batch is None:
                await clock.sleep(throttle_s)
                deadline_s += throttle_s
                continue
            if batch.end > offset or offset >= stable:
                return batch
            if clock.monotonic() >= deadline_s:
                raise BrokerUnavailable(f"{tp} gives nothing at {offset}, stable up to {stable}")
            await clock.sleep(ASK_AGAIN_S)

    async def close(self) -> None:
        return None
