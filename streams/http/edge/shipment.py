"""Ships batches to one topic, one transaction each; the broker stores the progress.

A transaction also commits the number after its last batch, as the offset of a group with the name
of the batches. After any failure that offset tells which batches are in the log.

Its metadata ``from=N P:O P:O`` has the number of the transaction's first batch, and the partitions
and offsets where its records begin. If those are aborted, Kafka carried the transaction out in part
(streams/connect/broker/torn_commit.py), and the batches are sent again. An open transaction of
another producer before them leaves the outcome open: `connect` fails, and trusts the offset after
`UNDECIDED_S`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from itertools import islice

import structlog

from streams.connect.broker.partitioner import partition_of
from streams.connect.broker.torn_commit import aborted_at
from streams.core.clock import Clock
from streams.core.errors import BrokerUnavailable, CommitInDoubt, UnknownTopic
from streams.core.tracing.tracer import UNTRACED, Tracer
from streams.core.types import (
    Admin,
    Broker,
    CommittedOffset,
    OutboundRecord,
    TopicPartition,
    TransactionalProducer,
)
from streams.http.edge.request_batch import RequestBatch

SHIP_TIMEOUT_S = 10.0
"""Of one transaction. The broker's own deadline must be longer."""
PARTITIONS_AGE_MAX_S = 30.0
"""Longest time until added partitions are used."""
UNDECIDED_S = 60.0
"""Longest time that another producer's open transaction delays a connection."""
_LANDED_MAX = 100
"""Partitions in the metadata of an offset, which a broker limits to 4,096 bytes."""
_MARK = re.compile(r"from=(\d{1,18})((?: \d{1,9}:\d{1,18})+)")

log = structlog.get_logger(__name__)


class Shipper:
    """Sends the batches of one name at a time to one topic. Connecting fences every other producer
    of that name.

    Calls raise `TransientError` kinds when nothing was sent, `PartitionRestart` kinds when the
    outcome is unknown; call `connect` again after either."""

    def __init__(self, broker: Broker, topic: str, clock: Clock, tracer: Tracer = UNTRACED) -> None:
        self._tracer = tracer
        self._broker = broker
        self._topic = topic
        self._clock = clock
        self._group = ""
        self._producer: TransactionalProducer | None = None
        self._admin: Admin | None = None
        self._partitions = 0
        self._counted_at = 0.0
        self._answered: CommittedOffset | None = None
        """of the last acknowledged commit"""
        self._undecided_since: float | None = None

    async def connect(self, edge: str) -> int | None:
        """Fence, then read: exactly the batches of ``edge`` below the returned number are in the
        log. None: the broker has no number."""
        await self.close()
        self._group = f"dia-edge-{edge}"
        self._producer = self._broker.transactional_producer(f"{self._group}-{self._topic}")
        await self._producer.start()
        self._admin = await self._broker.admin()
        self._partitions = await self._count(self._admin)
        known = (await self._admin.committed(self._group, [self._place])).get(self._place)
        if known is None:
            return None
        first = await self._torn(known)
        return known.offset if first is None else first

    async def ship(self, blocks: Sequence[RequestBatch]) -> None:
        """Write ``blocks``, all of the connected name, in order; returns when they are
        committed."""
        assert self._producer is not None
        assert self._admin is not None
        if self._clock.monotonic() - self._counted_at > PARTITIONS_AGE_MAX_S:
            self._partitions = await self._count(self._admin)
        try:
            async with asyncio.timeout(SHIP_TIMEOUT_S):
                with self._tracer.sending(self._topic, (block.traceparent for block in blocks)):
                    await self._commit(self._producer, blocks)
        except TimeoutError as error:
            raise CommitInDoubt(
                f"{self._topic}: no end of a transaction within {SHIP_TIMEOUT_S:g} s"
            ) from error

    async def close(self) -> None:
        """The next `connect` ends an open transaction."""
        producer, self._producer = self._producer, None
        admin, self._admin = self._admin, None
        if producer is not None:
            await producer.close()
        if admin is not None:
            await admin.close()

    @property
    def _place(self) -> TopicPartition:
        """Its offset holds the number; one partition is enough."""
        return TopicPartition(self._topic, 0)

    async def _torn(self, known: CommittedOffset) -> int | None:
        """The first batch number of the transaction that left ``known``, if its records are
        aborted."""
        mark = _MARK.fullmatch(known.metadata)
        if mark is None or known == self._answered:
            return None
        reader = await self._broker.reader()
        try:
            for place in mark[2].split():
                partition, offset = map(int, place.split(":"))
                tp = TopicPartition(self._topic, partition)
                if await aborted_at(reader, tp, offset) is not None:
                    log.warning("shipment_torn", tp=str(tp), offset=offset, group=self._group)
                    return int(mark[1])
        except BrokerUnavailable as error:
            self._wait_or_believe(known, error)
        finally:
            await reader.close()
        self._undecided_since = None
        return None

    def _wait_or_believe(self, known: CommittedOffset, error: BrokerUnavailable) -> None:
        """Raise ``error`` again until the outcome has been open for `UNDECIDED_S`."""
        now_s = self._clock.monotonic()
        if self._undecided_since is None:
            self._undecided_since = now_s
        if now_s - self._undecided_since < UNDECIDED_S:
            raise error
        log.warning("shipment_undecided", group=self._group, count=known.offset, why=str(error))

    async def _count(self, admin: Admin) -> int:
        found = (await admin.describe_topics()).get(self._topic)
        if found is None:
            raise UnknownTopic(f"topic {self._topic} does not exist. Run `dia topics apply`.")
        self._counted_at = self._clock.monotonic()
        return found.partitions

    async def _commit(
        self, producer: TransactionalProducer, blocks: Sequence[RequestBatch]
    ) -> None:
        await producer.begin()
        sent = []
        for block in blocks:
            for key, value in zip(block.keys, block.values, strict=True):
                tp = self._partition(key)
                landing = await producer.send(OutboundRecord(tp, key, value, block.headers))
                sent.append((tp.partition, landing))
        landed: dict[int, int] = {}
        for partition, landing in sent:
            landed.setdefault(partition, await landing)
        places = " ".join(f"{p}:{o}" for p, o in islice(landed.items(), _LANDED_MAX))
        mark = f"from={blocks[0].number} {places}"
        after = CommittedOffset(blocks[-1].number + 1, mark)
        await producer.send_offsets({self._place: after}, self._group)
        await producer.commit()
        self._answered = after

    def _partition(self, key: bytes) -> TopicPartition:
        return TopicPartition(self._topic, partition_of(key, self._partitions))
