"""Reads one partition without a group: plain fetch requests, decoded as columns.

No background task: each call asks the partition's leader itself, so a reader that is not called
costs nothing, and one that is closed leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import aiokafka.errors as client
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer.fetcher import READ_COMMITTED, OffsetResetStrategy, PartitionRecords
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.offset import OffsetRequest

from streams.broker.kafka_columns import ColumnFetch
from streams.broker.kafka_connection import KafkaConnection
from streams.broker.kafka_errors import CLIENT_ERRORS, broker_error
from streams.broker.kafka_metadata import RETRY_S, partitions_of
from streams.broker.kafka_record_set import RecordSet
from streams.broker.kafka_tasks import end_client
from streams.errors import UnknownTopic
from streams.types import OffsetOutOfRange, RecordBatch, TopicPartition

READ_BYTES = 8 << 20


class KafkaReader:
    """`LogReader` over `AIOKafkaClient`. Serves one call at a time."""

    def __init__(self, connection: KafkaConnection) -> None:
        self._connection = connection
        self._client: Any = AIOKafkaClient(**connection.client_options())
        self._rest: tuple[TopicPartition, ColumnFetch] | None = None

    async def start(self) -> None:
        """Connect. `BrokerUnavailable` when nobody answers."""
        try:
            await self._client.bootstrap()
        except CLIENT_ERRORS as error:
            await self.close()
            raise self._unavailable(error) from error

    async def beginning_offset(self, tp: TopicPartition) -> int:
        return await self._list_offset(tp, OffsetResetStrategy.EARLIEST)

    async def last_stable_offset(self, tp: TopicPartition) -> int:
        # Under read_committed the broker answers "latest" with the last stable offset.
        return await self._list_offset(tp, OffsetResetStrategy.LATEST)

    async def read(self, tp: TopicPartition, offset: int, max_records: int = 5000) -> RecordBatch:
        batch = RecordBatch(tp, offset, offset)
        while True:
            columns = await self._columns(tp, batch.end)
            if columns is None:
                return batch
            self._rest = None
            more = columns.read(batch, max_records)
            batch.end = columns.next_fetch_offset
            self._rest = (tp, columns) if more else None
            if len(batch):
                return batch

    async def close(self) -> None:
        self._rest = None
        await end_client(self._client)

    async def _columns(self, tp: TopicPartition, offset: int) -> ColumnFetch | None:
        """What was fetched but not read yet, else a new fetch; None at the last stable offset."""
        if self._rest is not None:
            known, columns = self._rest
            if known == tp and columns.next_fetch_offset == offset:
                return columns
        request = FetchRequest(
            0, 0, READ_BYTES, READ_COMMITTED, [(tp.topic, [(tp.partition, offset, READ_BYTES)])]
        )
        try:
            answer = await self._ask_leader(tp, request)
        except client.OffsetOutOfRangeError:
            raise OffsetOutOfRange(tp, offset) from None
        records = RecordSet(answer[-1])
        if not records.has_next():
            return None
        # The list of aborted transactions is two before the records since FetchResponse v11,
        # one before them from v4 on; v11 put the preferred replica in between.
        aborted = next(part for part in reversed(answer[:-1]) if not isinstance(part, int))
        return ColumnFetch(
            tp, PartitionRecords(tp, records, aborted, offset, None, None, True, READ_COMMITTED)
        )

    async def _list_offset(self, tp: TopicPartition, strategy: int) -> int:
        request = OffsetRequest(-1, READ_COMMITTED, [(tp.topic, [(tp.partition, strategy)])])
        answer = await self._ask_leader(tp, request)
        return int(answer[-1])

    async def _ask_leader(self, tp: TopicPartition, request: Any) -> list[Any]:
        """The fields after the error code of the leader's answer about one partition.

        Asks again while the leader moves; raises `OffsetOutOfRangeError`, `UnknownTopic` and
        `BrokerUnavailable`.
        """
        deadline_s = time.monotonic() + self._connection.request_timeout_s
        while True:
            try:
                leader = await self._leader(tp)
                response = await self._client.send(leader, request)
                fields: list[Any]
                [(_, [(_, code, *fields)])] = response.topics
                if code:
                    raise client.for_code(code)(str(tp))
            except client.OffsetOutOfRangeError:
                raise
            except CLIENT_ERRORS as error:
                retriable = getattr(error, "retriable", False)
                if not retriable or time.monotonic() > deadline_s:
                    raise self._unavailable(error) from error
                await asyncio.sleep(RETRY_S)
                await self._refresh()
            else:
                return fields

    async def _leader(self, tp: TopicPartition) -> int:
        if tp.partition >= await partitions_of(self._client, tp.topic):
            # The topic may just have grown.
            await self._refresh()
            if tp.partition >= await partitions_of(self._client, tp.topic):
                raise UnknownTopic(f"{tp} does not exist. Run `dia topics apply`.")
        leader = self._client.cluster.leader_for_partition(tp)
        if leader is None or leader == -1:
            raise client.LeaderNotAvailableError(str(tp))
        return int(leader)

    async def _refresh(self) -> None:
        async with asyncio.timeout(self._connection.request_timeout_s):
            await self._client.force_metadata_update()

    def _unavailable(self, error: BaseException) -> Exception:
        return broker_error(error, f"read at {self._connection.bootstrap}")
