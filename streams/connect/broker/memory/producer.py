"""Producers of the in-memory broker."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from streams.connect.broker.memory.cluster import Cluster
from streams.connect.broker.memory.faults import TRANSACTION_REFUSALS, Call, RefusedStep
from streams.connect.broker.memory.reader import ASK_AGAIN_S
from streams.connect.broker.partitioner import partition_of
from streams.core.errors import CommitInDoubt, DiaError, PartitionRestart
from streams.core.types import CommittedOffset, Headers, OutboundRecord, TopicPartition

Result = TypeVar("Result")


def _resolved(result: Result) -> asyncio.Future[Result]:
    future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
    future.set_result(result)
    return future


def _failed(error: Exception) -> asyncio.Future[Any]:
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    future.set_exception(error)
    future.exception()  # keeps the event loop from reporting an abandoned send
    return future


class MemoryTransactionalProducer:
    """Unusable after its first failure."""

    def __init__(self, cluster: Cluster, transactional_id: str, timeout_s: float) -> None:
        self._cluster = cluster
        self._id = transactional_id
        self._timeout_s = timeout_s
        self._epoch = 0
        self._wrote = False
        self._failure: PartitionRestart | None = None

    async def start(self) -> None:
        await self._cluster.call("start")
        await self._finished()
        self._epoch = self._cluster.transactions.start(self._id, self._timeout_s)
        self._cluster.signal.notify()
        await self._finished()

    async def begin(self) -> None:
        self._refuse_after_failure()
        if self._wrote:
            self._failure = CommitInDoubt(f"{self._id}: a transaction is open already")
            raise self._failure
        await self._finished()

    async def send(self, record: OutboundRecord) -> Awaitable[int]:
        try:
            return _resolved(await self._attempt("send", lambda: self._append(record)))
        except PartitionRestart as failure:
            return _failed(failure)

    async def send_many(self, records: Sequence[OutboundRecord]) -> Awaitable[None]:
        def append() -> None:
            for record in records:
                self._append(record)

        try:
            await self._attempt("send", append)
            return _resolved(None)
        except PartitionRestart as failure:
            return _failed(failure)

    async def send_offsets(
        self, offsets: Mapping[TopicPartition, CommittedOffset], group: str
    ) -> None:
        def stage() -> None:
            transaction = self._cluster.transactions.writing(self._id, self._epoch)
            transaction.offsets.setdefault(group, {}).update(offsets)
            self._wrote = True

        await self._attempt("send_offsets", stage)

    def partitions(self, topic: str) -> int:
        return self._cluster.partitions(topic)

    async def commit(self) -> None:
        def end() -> None:
            if self._cluster.faults.tears and self._tear():
                raise CommitInDoubt(f"{self._id}: no answer to the commit")
            applied = self._cluster.faults.commit_doubt()
            if applied is not False:
                self._end(committed=True)
            if applied is not None:
                raise CommitInDoubt(f"{self._id}: no answer to the commit")

        await self._attempt("commit", end)

    async def abort(self) -> None:
        await self._attempt("abort", lambda: self._end(committed=False))

    async def close(self) -> None:
        self._failure = CommitInDoubt(f"{self._id}: the producer is closed")

    def _append(self, record: OutboundRecord) -> int:
        transaction = self._cluster.transactions.writing(self._id, self._epoch)
        log = self._cluster.log(record.tp)
        entry = self._cluster.entry(
            record.tp, record.key, record.value, record.headers, record.timestamp_ms
        )
        transaction.logs[record.tp] = log
        self._wrote = True
        return log.append(entry, transaction.producer_id)

    def _tear(self) -> bool:
        cluster = self._cluster
        if not self._wrote or not cluster.transactions.is_mixed(self._id, self._epoch):
            return False
        stand = bool(cluster.faults.take_torn())
        cluster.transactions.tear(self._id, self._epoch, offsets_stand=stand)
        self._wrote = False
        cluster.signal.notify()
        return True

    def _end(self, *, committed: bool) -> None:
        if self._wrote:
            self._cluster.transactions.end(self._id, self._epoch, committed=committed)
        self._wrote = False
        self._cluster.signal.notify()

    async def _attempt(self, kind: Call, action: Callable[[], Result]) -> Result:
        self._refuse_after_failure()
        try:
            await self._cluster.call(kind)
            while (refused := self._cluster.faults.take_step(kind)) is not None:
                await self._refused(kind, refused, action)
            return action()
        except PartitionRestart as failure:
            self._failure = failure
            raise
        except DiaError as error:
            self._failure = CommitInDoubt(f"{self._id}: {kind} failed: {error}")
            raise self._failure from error

    async def _refused(self, kind: Call, refused: RefusedStep, action: Callable[[], Any]) -> None:
        if refused.applied:
            action()
        raised = TRANSACTION_REFUSALS[refused.code]
        if raised is not None:
            raise raised(f"{self._id}: {kind}: {refused.code}")
        await self._cluster.clock.sleep(ASK_AGAIN_S)
        await self._cluster.call(kind)

    async def _finished(self) -> None:
        transactions = self._cluster.transactions
        if transactions.finishing(self._id):
            await self._cluster.until(lambda: not transactions.finishing(self._id))

    def _refuse_after_failure(self) -> None:
        if self._failure is not None:
            raise self._failure


class MemoryPlainProducer:
    """Records without a key are sent round-robin."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._turn = itertools.count()

    async def start(self) -> None:
        await self._cluster.call("start")

    async def send(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Headers = ()
    ) -> Awaitable[TopicPartition]:
        await self._cluster.call("produce")
        return _resolved(self._append(topic, key, value, headers))

    async def send_many(
        self, topic: str, keys: Sequence[bytes], values: Sequence[bytes], headers: Headers = ()
    ) -> Awaitable[None]:
        await self._cluster.call("produce")
        for key, value in zip(keys, values, strict=True):
            self._append(topic, key, value, headers)
        return _resolved(None)

    async def close(self) -> None:
        return None

    def _append(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Headers
    ) -> TopicPartition:
        partitions = max(1, self._cluster.partitions(topic))
        chosen = next(self._turn) % partitions if key is None else partition_of(key, partitions)
        tp = TopicPartition(topic, chosen)
        log = self._cluster.log(tp)
        log.append(self._cluster.entry(tp, key, value, headers, None))
        self._cluster.signal.notify()
        return tp
