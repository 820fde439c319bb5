"""Reads the in-memory broker without a group, with the retries of the real client."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from streams.connect.broker.memory.cluster import Cluster
from streams.connect.broker.memory.log import Log
from streams.connect.broker.needles import containing
from streams.core.errors import BrokerUnavailable
from streams.core.types import LogBounds, RecordBatch, TopicPartition

ANSWER_TIMEOUT_S = 10.0
"""longest retry of a call; quota waits do not count"""
ASK_AGAIN_S = 0.1


class MemoryReader:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def beginning_offset(self, tp: TopicPartition) -> int:
        await self._cluster.call("read")
        return self._cluster.log(tp).start_offset

    async def last_stable_offset(self, tp: TopicPartition) -> int:
        return (await self._logs_with_ends([tp]))[tp].last_stable_offset

    async def bounds(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, LogBounds]:
        logs = await self._logs_with_ends(list(partitions))
        return {tp: LogBounds(log.start_offset, log.last_stable_offset) for tp, log in logs.items()}

    async def high_watermark(self, tp: TopicPartition) -> int:
        return (await self._logs_with_ends([tp]))[tp].high_watermark

    async def read(self, tp: TopicPartition, offset: int, max_records: int = 5000) -> RecordBatch:
        return await self._read(tp, offset, max_records, aborted=False)

    async def read_all(
        self, tp: TopicPartition, offset: int, max_records: int = 5000
    ) -> RecordBatch:
        return await self._read(tp, offset, max_records, aborted=True)

    async def search(
        self, tp: TopicPartition, offset: int, needles: Sequence[bytes]
    ) -> RecordBatch:
        return containing(await self.read(tp, offset), needles)

    async def offsets_since(
        self, partitions: Iterable[TopicPartition], ms: int
    ) -> dict[TopicPartition, int]:
        logs = await self._logs_with_ends(list(partitions))
        return {tp: log.offset_since(ms) for tp, log in logs.items()}

    async def _read(
        self, tp: TopicPartition, offset: int, max_records: int, *, aborted: bool
    ) -> RecordBatch:
        clock = self._cluster.clock
        deadline_s = clock.monotonic() + ANSWER_TIMEOUT_S
        while True:
            await self._cluster.call("read")
            answer = self._cluster.fetch(tp, offset, max_records, aborted=aborted)
            batch, end, throttle_s = answer
            if batch is None:
                await clock.sleep(throttle_s)
                deadline_s += throttle_s
                continue
            if batch.end > offset or offset >= end:
                return batch
            if clock.monotonic() >= deadline_s:
                raise BrokerUnavailable(f"{tp} gives nothing at {offset}, stable up to {end}")
            await clock.sleep(ASK_AGAIN_S)

    async def _logs_with_ends(
        self, partitions: Sequence[TopicPartition]
    ) -> dict[TopicPartition, Log]:
        cluster, clock = self._cluster, self._cluster.clock
        deadline_s = clock.monotonic() + ANSWER_TIMEOUT_S
        while True:
            await cluster.call("read")
            logs = {tp: cluster.log(tp) for tp in partitions}
            silent = [log.tp for log in logs.values() if not cluster.replicas.tells_end(log)]
            if not silent:
                return logs
            if clock.monotonic() >= deadline_s:
                raise BrokerUnavailable(f"{silent[0]}: OFFSET_NOT_AVAILABLE")
            await clock.sleep(ASK_AGAIN_S)

    async def close(self) -> None:
        return None
