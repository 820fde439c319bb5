"""Producers on aiokafka: the transactional one of a partition, and the plain one of commands."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from aiokafka import AIOKafkaProducer
from aiokafka import TopicPartition as ClientPartition
from aiokafka.errors import ProducerClosed
from aiokafka.structs import OffsetAndMetadata

from streams.broker.kafka_compression import use_fast_lz4
from streams.broker.kafka_connection import KafkaConnection
from streams.broker.kafka_errors import CLIENT_ERRORS, broker_error, transaction_error
from streams.broker.kafka_metadata import partitions_of
from streams.broker.kafka_tasks import end_client
from streams.broker.partitioner import partition_of
from streams.errors import CommitInDoubt, PartitionRestart
from streams.types import CommittedOffset, Headers, OutboundRecord, TopicPartition

MAX_REQUEST_BYTES = 8 << 20
"""The client's own limit must not speak before the topic's ``max.message.bytes`` does."""
TRANSACTION_BATCH_BYTES = 950 << 10
"""One changelog part, or many small records, under the broker's default of 1 MiB a batch."""
BULK_BATCH_BYTES = 512 << 10
LINGER_MS = 5

Result = TypeVar("Result")


class KafkaTransactionalProducer:
    """`TransactionalProducer` over `AIOKafkaProducer`. Its first failure is also its last word.

    aiokafka commits a transaction in which a send failed; `commit` here refuses to.
    """

    def __init__(self, connection: KafkaConnection, transactional_id: str) -> None:
        self._connection = connection
        self._id = transactional_id
        self._producer: Any = None
        self._unacknowledged: set[asyncio.Future[int]] = set()
        self._failure: PartitionRestart | None = None

    async def start(self) -> None:
        use_fast_lz4()
        self._producer = AIOKafkaProducer(
            **self._connection.client_options(),
            transactional_id=self._id,
            transaction_timeout_ms=round(self._connection.transaction_timeout_s * 1000),
            acks="all",
            compression_type="lz4",
            max_request_size=MAX_REQUEST_BYTES,
            max_batch_size=TRANSACTION_BATCH_BYTES,
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
        offset: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._unacknowledged.add(offset)
        sent.add_done_callback(partial(self._settle, offset))
        return offset

    async def send_offsets(
        self, offsets: Mapping[TopicPartition, CommittedOffset], group: str
    ) -> None:
        staged = {
            ClientPartition(*tp): OffsetAndMetadata(committed.offset, committed.metadata)
            for tp, committed in offsets.items()
        }
        await self._attempt(
            "send_offsets", lambda: self._producer.send_offsets_to_transaction(staged, group)
        )

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

    def _settle(self, offset: asyncio.Future[int], sent: asyncio.Future[Any]) -> None:
        """Pass a send's result on; a send without an offset spoils the transaction."""
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
            offset.exception()  # an abandoned send is not worth a complaint of the event loop

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
        """What ended the client's sender, where that is why the call failed."""
        task = self._producer._sender.sender_task  # noqa: SLF001  # pinned by a contract test
        if task is not None and task.done() and not task.cancelled():
            return task.exception() or error
        return error

    def _doing(self, step: str) -> str:
        return f"{self._id}: {step} at {self._connection.bootstrap}"


class KafkaPlainProducer:
    """`PlainProducer` over an idempotent `AIOKafkaProducer`."""

    def __init__(self, connection: KafkaConnection) -> None:
        self._connection = connection
        self._producer: Any = None

    async def start(self) -> None:
        use_fast_lz4()
        self._producer = AIOKafkaProducer(
            **self._connection.client_options(),
            enable_idempotence=True,
            acks="all",
            compression_type="lz4",
            linger_ms=LINGER_MS,
            max_request_size=MAX_REQUEST_BYTES,
            max_batch_size=BULK_BATCH_BYTES,
        )
        try:
            async with asyncio.timeout(self._connection.request_timeout_s):
                await self._producer.start()
        except CLIENT_ERRORS as error:
            await self._abandon()
            raise broker_error(error, f"start at {self._connection.bootstrap}") from error

    async def send(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Headers = ()
    ) -> Awaitable[TopicPartition]:
        partitions = await self._partitions(topic)
        chosen = None if key is None else partition_of(key, partitions)
        try:
            sent = await self._producer.send(
                topic, value=value, key=key, partition=chosen, headers=list(headers)
            )
        except CLIENT_ERRORS as error:
            raise self._refused(topic, error) from error
        return _quiet(self._landed(topic, sent))

    async def send_many(
        self, topic: str, keys: Sequence[bytes], values: Sequence[bytes]
    ) -> Awaitable[None]:
        partitions = await self._partitions(topic)
        now_ms = time.time_ns() // 1_000_000
        producer = self._producer
        open_batches: dict[int, Any] = {}
        sent: list[asyncio.Future[Any]] = []
        try:
            for key, value in zip(keys, values, strict=True):
                chosen = partition_of(key, partitions)
                batch = open_batches.get(chosen)
                if batch is None:
                    batch = open_batches[chosen] = producer.create_batch()
                if batch.append(timestamp=now_ms, key=key, value=value) is None:
                    sent.append(await producer.send_batch(batch, topic, partition=chosen))
                    batch = open_batches[chosen] = producer.create_batch()
                    batch.append(timestamp=now_ms, key=key, value=value)
            for chosen, batch in open_batches.items():
                batch.close()
                sent.append(await producer.send_batch(batch, topic, partition=chosen))
        except CLIENT_ERRORS as error:
            raise self._refused(topic, error) from error
        return _quiet(self._acknowledged(topic, sent))

    async def close(self) -> None:
        if self._producer is None:
            return
        try:
            async with asyncio.timeout(self._connection.request_timeout_s):
                await self._producer.flush()
        except CLIENT_ERRORS as error:
            raise broker_error(error, f"flush to {self._connection.bootstrap}") from error
        finally:
            await self._abandon()

    async def _partitions(self, topic: str) -> int:
        try:
            return await partitions_of(self._producer.client, topic)
        except CLIENT_ERRORS as error:
            raise self._refused(topic, error) from error

    async def _landed(self, topic: str, sent: asyncio.Future[Any]) -> TopicPartition:
        try:
            return TopicPartition(topic, (await sent).partition)
        except CLIENT_ERRORS as error:
            raise self._refused(topic, error) from error

    async def _acknowledged(self, topic: str, sent: list[asyncio.Future[Any]]) -> None:
        try:
            await asyncio.gather(*sent)
        except CLIENT_ERRORS as error:
            raise self._refused(topic, error) from error

    async def _abandon(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await abandon(producer)

    def _refused(self, topic: str, error: BaseException) -> Exception:
        return broker_error(error, f"send to {topic} at {self._connection.bootstrap}")


def _quiet(result: Awaitable[Result]) -> asyncio.Future[Result]:
    """Run ``result`` now; a caller that drops it gets no complaint of the event loop."""
    task = asyncio.ensure_future(result)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return task


async def abandon(producer: Any) -> None:
    """End an `AIOKafkaProducer` without flushing, within `CLOSE_TIMEOUT_S`. Never raises."""
    producer._closed = True  # noqa: SLF001  # else its finalizer warns
    sender, accumulator = producer._sender, producer._message_accumulator  # noqa: SLF001
    await end_client(producer.client, sender, accumulator)
    unsent = [batch for batches in accumulator._batches.values() for batch in batches]  # noqa: SLF001
    unsent.extend(accumulator._pending_batches)  # noqa: SLF001
    accumulator.fail_all(ProducerClosed())
    for batch in unsent:
        _retrieve(batch.future)
        _retrieve(batch._drain_waiter)  # noqa: SLF001
    manager = producer._txn_manager  # noqa: SLF001
    if manager is not None and manager._transaction_waiter is not None:  # noqa: SLF001
        _retrieve(manager._transaction_waiter)  # noqa: SLF001


def _retrieve(future: asyncio.Future[Any]) -> None:
    """Look at a failure nobody waits for any more, so that the event loop does not report it."""
    if future.done() and not future.cancelled():
        future.exception()
