"""The producer of commands, on aiokafka."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Sequence
from typing import Any

import aiokafka.errors as client_errors
from aiokafka import AIOKafkaProducer

from streams.connect.broker.kafka.connection import MAX_REQUEST_BYTES, KafkaConnection
from streams.connect.broker.kafka.errors import CLIENT_ERRORS, broker_error
from streams.connect.broker.kafka.producers.producing import abandon, quiet, use_fast_lz4
from streams.connect.broker.kafka.requests.metadata import partitions_of
from streams.connect.broker.partitioner import partition_of
from streams.core.types import Headers, TopicPartition

BATCH_BYTES = 512 << 10
LINGER_MS = 5


class KafkaPlainProducer:
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
            max_batch_size=BATCH_BYTES,
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
        return quiet(self._landed(topic, sent))

    async def send_many(
        self, topic: str, keys: Sequence[bytes], values: Sequence[bytes], headers: Headers = ()
    ) -> Awaitable[None]:
        partitions = await self._partitions(topic)
        now_ms = time.time_ns() // 1_000_000
        producer, each = self._producer, list(headers)
        open_batches: dict[int, Any] = {}
        sent: list[asyncio.Future[Any]] = []
        try:
            for key, value in zip(keys, values, strict=True):
                chosen = partition_of(key, partitions)
                batch = open_batches.get(chosen)
                if batch is None:
                    batch = open_batches[chosen] = producer.create_batch()
                if batch.append(timestamp=now_ms, key=key, value=value, headers=each) is None:
                    sent.append(await self._enqueued(batch, topic, chosen))
                    batch = open_batches[chosen] = producer.create_batch()
                    batch.append(timestamp=now_ms, key=key, value=value, headers=each)
            for chosen, batch in open_batches.items():
                batch.close()
                sent.append(await self._enqueued(batch, topic, chosen))
        except CLIENT_ERRORS as error:
            raise self._refused(topic, error) from error
        return quiet(self._acknowledged(topic, sent))

    async def _enqueued(self, batch: Any, topic: str, partition: int) -> asyncio.Future[Any]:
        """The client refuses a batch that finds no room within a request's time, as in an outage, and
        leaves it as it was. To give up the block there would lose or repeat a part of it."""
        while True:
            try:
                future: asyncio.Future[Any] = await self._producer.send_batch(
                    batch, topic, partition=partition
                )
            except client_errors.KafkaTimeoutError:
                await asyncio.sleep(0)  # a client that refuses at once must not block the loop
                continue
            return future

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
