"""Blocks into one topic, one transaction a batch; the broker remembers how far it came.

With the records, a transaction commits the number after its last block, as the offset of a group
that bears the name the blocks have. So whatever becomes of a connection, a process or an answer,
asking for that offset tells which blocks of that name are in the log, and none is ever sent twice.

The offset's metadata reads ``from=N P:O P:O``: the number of the transaction's first block, and in
which partitions and at which offsets its records begin. Where those are aborted, Kafka carried the
transaction out in part (streams/connect/broker/torn_commit.py), and its blocks are sent again. A transaction whose
commit was answered is whole, and needs no such look. An open transaction of another producer before
those records leaves the question open: `connect` fails, and from `UNDECIDED_S` on takes the offset's
word.
"""

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
from streams.http.edge.event_batch import EventBatch

SHIP_TIMEOUT_S = 10.0
"""Deadline of one transaction. The broker's own deadline must be longer."""
PARTITIONS_AGE_MAX_S = 30.0
"""How long a grown topic may go unnoticed."""
UNDECIDED_S = 60.0
"""How long another producer's open transaction may keep an edge from connecting."""
_LANDED_MAX = 100
"""Partitions named in the metadata of an offset, of which a broker keeps 4,096 bytes."""
_MARK = re.compile(r"from=(\d{1,18})((?: \d{1,9}:\d{1,18})+)")

log = structlog.get_logger(__name__)


class Shipper:
    """A sender of one topic, of blocks of one name at a time. Connecting fences every other
    sender of that name.

    Calls raise `TransientError` kinds where nothing was sent, `PartitionRestart` kinds where what
    became of it is unknown; after either, `connect` again.
    """

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
        """what the last answered commit left"""
        self._undecided_since: float | None = None

    async def connect(self, edge: str) -> int | None:
        """Fence, then ask: of the blocks of ``edge``, those with a number below the answer are
        in the log, and no others. None when the broker knows of none."""
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

    async def ship(self, blocks: Sequence[EventBatch]) -> None:
        """Returns once every record of ``blocks``, all of the connected name, is true, in order."""
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
        """Give up the connections; an open transaction is left to the next `connect`."""
        producer, self._producer = self._producer, None
        admin, self._admin = self._admin, None
        if producer is not None:
            await producer.close()
        if admin is not None:
            await admin.close()

    @property
    def _place(self) -> TopicPartition:
        """Whose offset is the count. Offsets are kept by partition; one is enough."""
        return TopicPartition(self._topic, 0)

    async def _torn(self, known: CommittedOffset) -> int | None:
        """The number of the first block of the transaction that left ``known``, where its records
        are aborted; None where they stand."""
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
        """Raise ``error`` again, until the question has been open for `UNDECIDED_S`."""
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

    async def _commit(self, producer: TransactionalProducer, blocks: Sequence[EventBatch]) -> None:
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
