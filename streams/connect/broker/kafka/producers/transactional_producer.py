"""The only writer of a partition's changelog, on aiokafka."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from aiokafka import AIOKafkaProducer
from aiokafka import TopicPartition as ClientPartition
from aiokafka.client import CoordinationType
from aiokafka.structs import OffsetAndMetadata

from streams.connect.broker.kafka.connection import MAX_REQUEST_BYTES, KafkaConnection
from streams.connect.broker.kafka.errors import CLIENT_ERRORS, broker_error, transaction_error
from streams.connect.broker.kafka.producers.producing import abandon, quiet, use_fast_lz4
from streams.core.errors import CommitInDoubt, PartitionRestart
from streams.core.types import CommittedOffset, OutboundRecord, TopicPartition

BATCH_BYTES = 950 << 10
"""below the broker's default of 1 MiB per batch"""

Result = TypeVar("Result")


class KafkaTransactionalProducer:
    """Unusable after its first failure.

    aiokafka commits a transaction with a failed send; `commit` refuses. aiokafka adds one group per
    transaction; `send_offsets` adds each."""

    def __init__(self, connection: KafkaConnection, transactional_id: str) -> None:
        self._connection = connection
        self._id = transactional_id
        self._producer: Any = None
        self._unacknowledged: set[asyncio.Future[int]] = set()
        self._failure: PartitionRestart | None = None
        self._group = ""
        """last group in `send_offsets`"""

    async def start(self) -> None:
        use_fast_lz4()
        self._producer = AIOKafkaProducer(
            **self._connection.client_options(),
            transactional_id=self._id,
            transaction_timeout_ms=round(self._connection.transaction_timeout_s * 1000),
            acks="all",
            compression_type="lz4",
            max_request_size=MAX_REQUEST_BYTES,
            max_batch_size=BATCH_BYTES,
        )
        try:
            async with asyncio.timeout(self._connection.request_timeout_s):
                await self._producer.start()
        except CLIENT_ERRORS as error:
            await self.close()
            raise broker_error(error, self._doing("start")) from error
        except asyncio.CancelledError:
            await self.close()
            raise

    async def begin(self) -> None:
        await self._attempt("begin", self._producer.begin_transaction)

    async def send(self, record: OutboundRecord) -> Awaitable[int]:
        sent: asyncio.Future[Any] = await self._attempt(
            "send",
            lambda: self._producer.send(
                record.tp.topic,
                value=record.value,
                key=record.key,
                partition=record.tp.partition,
                timestamp_ms=record.timestamp_ms,
                headers=list(record.headers),
            ),
        )
        return self._answer_to(sent)

    async def send_many(self, records: Sequence[OutboundRecord]) -> Awaitable[None]:
        # In batches: a future per record costs more than the record.
        answers = await self._attempt("send", lambda: self._queue_all(records))
        return quiet(_all(answers))

    async def send_offsets(
        self, offsets: Mapping[TopicPartition, CommittedOffset], group: str
    ) -> None:
        staged = {
            ClientPartition(*tp): OffsetAndMetadata(committed.offset, committed.metadata)
            for tp, committed in offsets.items()
        }
        await self._attempt("send_offsets", lambda: self._send_offsets(staged, group))

    async def _send_offsets(
        self, staged: Mapping[ClientPartition, OffsetAndMetadata], group: str
    ) -> None:
        if group != self._group:
            # the client keeps one added group and one group coordinator
            self._group = group
            self._producer._txn_manager._txn_consumer_group = None  # noqa: SLF001  # pinned
            self._producer._sender._coordinator_dead(CoordinationType.GROUP)  # noqa: SLF001  # pinned
        await self._producer.send_offsets_to_transaction(staged, group)

    def partitions(self, topic: str) -> int:
        if self._producer is None:
            return 0
        return len(self._producer.client.cluster.partitions_for_topic(topic) or ())

    async def commit(self) -> None:
        await self._attempt("commit", self._commit_acknowledged)

    async def abort(self) -> None:
        await self._attempt("abort", self._producer.abort_transaction)

    async def close(self) -> None:
        if self._failure is None:
            self._failure = CommitInDoubt(f"{self._id}: the producer is closed")
        if self._producer is None or self._producer._closed:  # noqa: SLF001
            return
        await abandon(self._producer)
        for offset in list(self._unacknowledged):
            self._spoil(offset, self._failure)

    async def _queue_all(self, records: Sequence[OutboundRecord]) -> list[asyncio.Future[int]]:
        answers: list[asyncio.Future[int]] = []
        filling: dict[TopicPartition, Any] = {}
        for record in records:
            tp = record.tp
            batch = filling.get(tp)
            if batch is None or not _appended(batch, record):
                if batch is not None:
                    answers.append(await self._queue(batch, tp))
                batch = filling[tp] = self._producer.create_batch()
                _appended(batch, record)
        for tp, batch in filling.items():
            answers.append(await self._queue(batch, tp))
        return answers

    async def _queue(self, batch: Any, tp: TopicPartition) -> asyncio.Future[int]:
        batch.close()
        return self._answer_to(
            await self._producer.send_batch(batch, tp.topic, partition=tp.partition)
        )

    def _answer_to(self, sent: asyncio.Future[Any]) -> asyncio.Future[int]:
        """Of one record, or of the first of a batch."""
        offset: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._unacknowledged.add(offset)
        sent.add_done_callback(partial(self._settle, offset))
        return offset

    def _settle(self, offset: asyncio.Future[int], sent: asyncio.Future[Any]) -> None:
        """A send without an offset fails the transaction."""
        error: BaseException | None = (
            asyncio.CancelledError() if sent.cancelled() else sent.exception()
        )
        self._unacknowledged.discard(offset)
        if offset.done():
            return
        if error is None and sent.result().offset >= 0:
            offset.set_result(sent.result().offset)
            return
        failure = transaction_error(error or ValueError("no offset"), self._doing("send"))
        self._failure = self._failure or failure
        self._spoil(offset, failure)

    def _spoil(self, offset: asyncio.Future[int], failure: PartitionRestart) -> None:
        self._unacknowledged.discard(offset)
        if not offset.done():
            offset.set_exception(failure)
            offset.exception()  # keeps the event loop from reporting an abandoned send

    async def _commit_acknowledged(self) -> None:
        if self._unacknowledged:
            await asyncio.wait(self._unacknowledged)
        if self._failure is not None:
            raise self._failure
        await self._producer.commit_transaction()

    async def _attempt(self, step: str, call: Callable[[], Awaitable[Result]]) -> Result:
        if self._failure is not None:
            raise self._failure
        try:
            async with asyncio.timeout(self._connection.request_timeout_s):
                return await call()
        except CLIENT_ERRORS as error:
            self._failure = transaction_error(self._root_of(error), self._doing(step))
            raise self._failure from error

    def _root_of(self, error: BaseException) -> BaseException:
        """The error that ended the client's sender, where it caused this one."""
        task = self._producer._sender.sender_task  # noqa: SLF001  # pinned by a contract test
        if task is not None and task.done() and not task.cancelled():
            return task.exception() or error
        return error

    def _doing(self, step: str) -> str:
        return f"{self._id}: {step} at {self._connection.bootstrap}"


def _appended(batch: Any, record: OutboundRecord) -> bool:
    """False when the batch is full. An empty batch takes any record."""
    return (
        batch.append(
            timestamp=record.timestamp_ms,
            key=record.key,
            value=record.value,
            headers=list(record.headers),
        )
        is not None
    )


async def _all(answers: Sequence[Awaitable[int]]) -> None:
    await asyncio.gather(*answers)
