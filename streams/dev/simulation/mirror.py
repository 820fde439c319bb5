"""A mirror between two clusters in memory, as MirrorMaker 2 without exactly-once: what it copied
since it last wrote its offsets is copied again after a restart. It writes the offsets of records that it copied,
and none of those that it leaves out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from streams.connect.broker.log_range import read_some
from streams.connect.broker.opened import opened
from streams.core.clock import Clock
from streams.core.errors import PartitionRestart, TransientError
from streams.core.records import headers
from streams.core.types import (
    Broker,
    Headers,
    LogReader,
    OutboundRecord,
    RecordBatch,
    TopicConfig,
    TopicPartition,
    TransactionalProducer,
)
from streams.operate.regions.mirrored import is_copied, offset_entry, offsets_topic, taken

COPY_RECORDS = 3
"""of one partition in a turn; small, so that a kill falls between"""
TURNS_PER_OFFSETS = 3
LOOK_S = 0.5


class Mirror:
    """Copies ``topics`` of region ``source`` from ``origin`` to ``target``."""

    def __init__(
        self,
        source: str,
        origin: Broker,
        target: Broker,
        topics: Sequence[str],
        clock: Clock,
        copied: Callable[[Headers], bool] = is_copied,
    ) -> None:
        """``copied``: whether a record with these headers is copied."""
        self._source = source
        self._origin = origin
        self._target = target
        self._topics = topics
        self._clock = clock
        self._copied = copied

    async def run(self) -> None:
        """Until cancelled, which is its kill."""
        while True:
            try:
                await self._run()
            except (TransientError, PartitionRestart):
                await self._clock.sleep(LOOK_S)

    async def _run(self) -> None:
        place = TopicPartition(offsets_topic(self._source), 0)
        async with opened(self._target.admin()) as admin:
            await admin.create_topics([TopicConfig(place.topic, 1, 1, {})])
        said = await taken(self._target, self._source)
        next_of = dict(said)
        producer = self._target.transactional_producer(f"mirror-of-{self._source}")
        try:
            await producer.start()
            async with opened(self._origin.admin()) as admin:
                described = await admin.describe_topics()
            partitions = [
                TopicPartition(name, number)
                for name in self._topics
                for number in range(described[name].partitions)
            ]
            async with opened(self._origin.reader()) as reader:
                while True:
                    for _ in range(TURNS_PER_OFFSETS):
                        for tp in partitions:
                            next_of[tp] = await self._copy(
                                reader, producer, tp, next_of.get(tp, 0), said
                            )
                        await self._clock.sleep(LOOK_S)
                    entries = [
                        OutboundRecord(place, *offset_entry(self._source, tp, end - 1))
                        for tp, end in said.items()
                    ]
                    await _commit(producer, entries)
        finally:
            await producer.close()

    async def _copy(
        self,
        reader: LogReader,
        producer: TransactionalProducer,
        tp: TopicPartition,
        at: int,
        said: dict[TopicPartition, int],
    ) -> int:
        end = await reader.last_stable_offset(tp)
        if at >= end:
            return at
        batch = await read_some(reader, tp, at, end, COPY_RECORDS)
        rows = [row for row, found in enumerate(batch.headers) if self._copied(found)]
        await _commit(producer, [_copy_of(batch, row) for row in rows])
        if rows:
            said[tp] = batch.offsets[rows[-1]] + 1
        return batch.end


def _copy_of(batch: RecordBatch, row: int) -> OutboundRecord:
    marked = (*batch.headers[row], (headers.MIRRORED, b""))
    return OutboundRecord(batch.tp, batch.keys[row], batch.values[row], marked)


async def _commit(producer: TransactionalProducer, records: Sequence[OutboundRecord]) -> None:
    if not records:
        return
    await producer.begin()
    await (await producer.send_many(records))
    await producer.commit()
