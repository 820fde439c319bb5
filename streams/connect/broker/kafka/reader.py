"""Reads partitions without a group: plain fetch requests, decoded as columns.

There is no background task: each call queries the leaders itself.

Answers of a leader (Fetch v4 to v11, ListOffsets v2 and v3, Kafka 4.1):

| answer                                                            | effect                   |
|-------------------------------------------------------------------|--------------------------|
| records                                                           | returns them             |
| no records, the offset at or behind the last stable offset        | `read` returns empty     |
| no records below the last stable offset                           | retries                  |
| no entry for the partition: the client is over its quota          | waits the throttle time, retries |
| any answer with ``throttle_time_ms``                              | waits before the next request |
| an offset or a last stable offset of -1: unknown                  | retries                  |
| an offset of -1 for a timestamp: no record is so young            | asks for the end         |
| OFFSET_OUT_OF_RANGE                                               | `OffsetOutOfRange`       |
| a retriable code (`codes.passes`) of the partition or the answer; | retries with fresh       |
| an unknown leader                                                 | metadata                 |
| any other code                                                    | `BrokerUnavailable`      |

Retries end at the request timeout with `BrokerUnavailable`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import aiokafka.errors as client
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer.fetcher import (
    READ_COMMITTED,
    READ_UNCOMMITTED,
    OffsetResetStrategy,
    PartitionRecords,
)
from aiokafka.protocol.fetch import FetchRequest

from streams.connect.broker.kafka.batches.columns import ColumnFetch
from streams.connect.broker.kafka.batches.record_set import RecordSet
from streams.connect.broker.kafka.connection import KafkaConnection
from streams.connect.broker.kafka.errors import CLIENT_ERRORS, broker_error
from streams.connect.broker.kafka.requests.codes import IncompleteAnswerError, passes, raise_for
from streams.connect.broker.kafka.requests.list_offsets import (
    NO_RECORD,
    PARTITIONS_MAX,
    ListOffsets,
)
from streams.connect.broker.kafka.requests.metadata import partitions_of
from streams.connect.broker.kafka.requests.patience import RETRY_S, Patience
from streams.connect.broker.kafka.tasks import end_client
from streams.connect.broker.needles import containing
from streams.core.errors import UnknownTopic
from streams.core.process.process_memory import MMAP_THRESHOLD_BYTES
from streams.core.types import LogBounds, OffsetOutOfRange, RecordBatch, TopicPartition

READ_BYTES = 8 << 20
SEARCH_BYTES = MMAP_THRESHOLD_BYTES * 3 // 4
"""The blocks of larger answers are new pages each time, which takes a third of the CPU of receiving them."""
ONE_BYTES = 64 << 10
"""To read one record; a larger first batch is answered whole (KIP-74)."""
SEARCH_RECORDS = 20_000
"""Records of one answer that a search decodes, in batches that contain what it looks for."""

Taken = TypeVar("Taken")


class KafkaReader:
    """`LogReader` over `AIOKafkaClient`. Serves one `read` at a time, and any number of searches."""

    def __init__(self, connection: KafkaConnection) -> None:
        self._connection = connection
        self._client: Any = AIOKafkaClient(**connection.client_options())
        self._rest: tuple[TopicPartition, int, ColumnFetch] | None = None
        self._quiet_until_s = 0.0
        """monotonic; the broker ignores this client's requests until then (KIP-219)"""

    async def start(self) -> None:
        """Raises `BrokerUnavailable` when no broker answers."""
        try:
            await self._client.bootstrap()
        except CLIENT_ERRORS as error:
            await self.close()
            raise self._unavailable(error) from error

    async def beginning_offset(self, tp: TopicPartition) -> int:
        return (await self._offsets([tp], OffsetResetStrategy.EARLIEST))[tp]

    async def last_stable_offset(self, tp: TopicPartition) -> int:
        # with read_committed, "latest" is the last stable offset
        return (await self._offsets([tp], OffsetResetStrategy.LATEST))[tp]

    async def high_watermark(self, tp: TopicPartition) -> int:
        return (await self._offsets([tp], OffsetResetStrategy.LATEST, READ_UNCOMMITTED))[tp]

    async def bounds(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, LogBounds]:
        asked = list(partitions)
        begins = await self._offsets(asked, OffsetResetStrategy.EARLIEST)
        ends = await self._offsets(asked, OffsetResetStrategy.LATEST)
        return {tp: LogBounds(begins[tp], ends[tp]) for tp in asked}

    async def read(self, tp: TopicPartition, offset: int, max_records: int = 5000) -> RecordBatch:
        return await self._read(tp, offset, max_records, READ_COMMITTED)

    async def read_all(
        self, tp: TopicPartition, offset: int, max_records: int = 5000
    ) -> RecordBatch:
        return await self._read(tp, offset, max_records, READ_UNCOMMITTED)

    async def search(
        self, tp: TopicPartition, offset: int, needles: Sequence[bytes]
    ) -> RecordBatch:
        patience = self._patience()
        while True:
            columns = await self._fetch(
                *(tp, offset, READ_COMMITTED, patience), needles=needles, room=SEARCH_BYTES
            )
            batch = RecordBatch(tp, offset, offset)
            if columns is None:
                return batch
            # Opening megabytes of batches takes the processor for tens of milliseconds.
            await asyncio.to_thread(columns.read, batch, SEARCH_RECORDS)
            batch.end = columns.next_fetch_offset
            if batch.end > offset:
                return containing(batch, needles)
            await self._again(IncompleteAnswerError(f"no batch of {tp} at {offset}"), patience)

    async def offsets_since(
        self, partitions: Iterable[TopicPartition], ms: int
    ) -> dict[TopicPartition, int]:
        asked = list(partitions)
        told = await self._offsets(asked, max(0, ms))
        behind = [tp for tp in asked if told[tp] == NO_RECORD]
        return told | await self._offsets(behind, OffsetResetStrategy.LATEST)

    async def _read(
        self, tp: TopicPartition, offset: int, max_records: int, isolation: int
    ) -> RecordBatch:
        patience = self._patience()
        batch = RecordBatch(tp, offset, offset)
        while True:
            room = READ_BYTES if max_records > 1 else ONE_BYTES
            columns = await self._columns(tp, batch.end, isolation, patience, room)
            if columns is None:
                return batch
            self._rest = None
            more = columns.read(batch, max_records)
            moved = columns.next_fetch_offset > batch.end
            batch.end = columns.next_fetch_offset
            self._rest = (tp, isolation, columns) if more else None
            if len(batch):
                return batch
            if not moved:
                await self._again(IncompleteAnswerError(f"no batch of {tp} at {offset}"), patience)

    async def close(self) -> None:
        self._rest = None
        await end_client(self._client)

    async def _columns(
        self, tp: TopicPartition, offset: int, isolation: int, patience: Patience, room: int
    ) -> ColumnFetch | None:
        """Buffered records, else a new fetch; None at the end visible with ``isolation``."""
        if self._rest is not None:
            known, same, columns = self._rest
            if (known, same, columns.next_fetch_offset) == (tp, isolation, offset):
                return columns
        return await self._fetch(tp, offset, isolation, patience, room=room)

    async def _fetch(
        self,
        tp: TopicPartition,
        offset: int,
        isolation: int,
        patience: Patience,
        needles: Sequence[bytes] = (),
        room: int = READ_BYTES,
    ) -> ColumnFetch | None:
        """A new answer of about ``room`` bytes; None at the end visible with ``isolation``."""
        request = FetchRequest(0, 0, room, isolation, [(tp.topic, [(tp.partition, offset, room)])])
        end_field = "last_stable_offset" if isolation == READ_COMMITTED else "highwater_offset"

        def take(fields: dict[str, Any]) -> ColumnFetch | None:
            records = RecordSet(fields["message_set"] or b"")
            if records.has_next():
                aborted = fields["aborted_transactions"]
                source = (tp, records, aborted, offset, None, None, True, isolation)
                bytes_max = self._connection.batch_bytes_max
                return ColumnFetch(tp, PartitionRecords(*source), bytes_max, needles=needles)
            end = fields[end_field]
            if not 0 <= end <= offset:
                raise IncompleteAnswerError(f"nothing of {tp} at {offset}, stable up to {end}")
            return None

        try:
            return await self._ask_leader(tp, request, take, patience)
        except client.OffsetOutOfRangeError:
            raise OffsetOutOfRange(tp, offset) from None

    async def _offsets(
        self, partitions: Iterable[TopicPartition], strategy: int, isolation: int = READ_COMMITTED
    ) -> dict[TopicPartition, int]:
        asked, patience = ListOffsets(partitions, strategy, isolation), self._patience()
        while some := asked.left[:PARTITIONS_MAX]:
            try:
                await patience.throttled(self._quiet_until_s)
                requests = asked.requests({tp: await self._leader(tp) for tp in some})
                for answer in await asyncio.gather(*(self._client.send(*one) for one in requests)):
                    self._throttled(answer)
                    asked.take(answer)
                asked.check(some)
            except CLIENT_ERRORS as error:
                await self._again(error, patience)
        return asked.told

    async def _ask_leader(
        self,
        tp: TopicPartition,
        request: Any,
        take: Callable[[dict[str, Any]], Taken],
        patience: Patience,
    ) -> Taken:
        """``take`` applied to the leader's answer. Raises `OffsetOutOfRangeError`, `UnknownTopic`
        and `BrokerUnavailable`."""
        while True:
            try:
                await patience.throttled(self._quiet_until_s)
                response = await self._client.send(await self._leader(tp), request)
                return take(self._about(response, tp))
            except client.OffsetOutOfRangeError:
                raise
            except CLIENT_ERRORS as error:
                await self._again(error, patience)

    def _about(self, answer: Any, tp: TopicPartition) -> dict[str, Any]:
        """The answer's fields by protocol name; positions vary by version."""
        throttle_s = self._throttled(answer)
        raise_for(getattr(answer, "error_code", 0), str(tp))
        for topic, partitions, *_ in answer.topics or ():
            names = _items(_items(answer.SCHEMA, "topics"), "partitions").names
            for values in partitions:
                fields = dict(zip(names, values, strict=True))
                if (topic, fields["partition"]) == tp:
                    raise_for(fields["error_code"], str(tp))
                    return fields
        raise IncompleteAnswerError(f"nothing about {tp}, throttled for {throttle_s:g} s")

    def _throttled(self, answer: Any) -> float:
        throttle_s: float = getattr(answer, "throttle_time_ms", 0) / 1000
        self._quiet_until_s = max(self._quiet_until_s, time.monotonic() + throttle_s)
        return throttle_s

    async def _again(self, error: BaseException, patience: Patience) -> None:
        """Return when a retry is due, else raise."""
        if not passes(error) or patience.over:
            raise self._unavailable(error) from error
        await asyncio.sleep(RETRY_S)
        try:
            await self._refresh()
        except CLIENT_ERRORS as stale:
            raise self._unavailable(stale) from error

    async def _leader(self, tp: TopicPartition) -> int:
        if tp.partition >= await partitions_of(self._client, tp.topic):
            # the topic may have grown
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

    def _patience(self) -> Patience:
        return Patience(self._connection.request_timeout_s)

    def _unavailable(self, error: BaseException) -> Exception:
        return broker_error(error, f"read at {self._connection.bootstrap}")


def _items(schema: Any, name: str) -> Any:
    return schema.fields[schema.names.index(name)].array_of
