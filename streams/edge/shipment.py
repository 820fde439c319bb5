"""Blocks into one topic, one transaction a batch; the broker remembers how far it came.

With the records, a transaction commits the number after its last block, as the offset of a group
that bears the name the blocks have. So whatever becomes of a connection, a process or an answer,
asking for that offset tells which blocks of that name are in the log, and none is ever sent twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from streams.broker.partitioner import partition_of
from streams.clock import Clock
from streams.edge.block import Block
from streams.errors import CommitInDoubt, UnknownTopic
from streams.tracing.tracer import UNTRACED, Tracer
from streams.types import (
    Admin,
    Broker,
    CommittedOffset,
    OutboundRecord,
    TopicPartition,
    TransactionalProducer,
)

SHIP_TIMEOUT_S = 10.0
"""Deadline of one transaction. The broker's own deadline must be longer."""
PARTITIONS_AGE_MAX_S = 30.0
"""How long a grown topic may go unnoticed."""


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

    async def connect(self, edge: str) -> int | None:
        """Fence, then ask: of the blocks of ``edge``, those with a number below the answer are
        in the log, and no others. None when the broker knows of none."""
        await self.close()
        self._group = f"dia-edge-{edge}"
        self._producer = self._broker.transactional_producer(f"{self._group}-{self._topic}")
        await self._producer.start()
        self._admin = await self._broker.admin()
        self._partitions = await self._count(self._admin)
        known = await self._admin.committed(self._group, [self._place])
        return known[self._place].offset if self._place in known else None

    async def ship(self, blocks: Sequence[Block]) -> None:
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

    async def _count(self, admin: Admin) -> int:
        found = (await admin.describe_topics()).get(self._topic)
        if found is None:
            raise UnknownTopic(f"topic {self._topic} does not exist. Run `dia topics apply`.")
        self._counted_at = self._clock.monotonic()
        return found.partitions

    async def _commit(self, producer: TransactionalProducer, blocks: Sequence[Block]) -> None:
        await producer.begin()
        sent = [
            await producer.send(OutboundRecord(self._partition(key), key, value, headers))
            for block in blocks
            for headers in (block.headers,)
            for key, value in zip(block.keys, block.values, strict=True)
        ]
        for landed in sent:
            await landed
        after = CommittedOffset(blocks[-1].number + 1, "")
        await producer.send_offsets({self._place: after}, self._group)
        await producer.commit()

    def _partition(self, key: bytes) -> TopicPartition:
        return TopicPartition(self._topic, partition_of(key, self._partitions))
