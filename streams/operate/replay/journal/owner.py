"""P2, P3 and P6: the single process that may decide on the dead letters of a DLQ partition.

Each transaction also commits the number of its last journal entry, as the offset of the DLQ
partition in `decided_group`. A journal that ends below that number has lost decisions. Brokers drop
the offset after seven idle days (offsets.retention.minutes); then such a loss is not detected. Its
metadata, ``from=F at=O``, names the transaction's first entry and the offset of the last. If that
one is aborted, and the journal ends before F, the transaction never committed
(streams/connect/broker/torn_commit.py). `DecisionsLost` is excepted: its loss remains.

A commit is acknowledged before its marker is in the journal, and readers stop below a missing
marker. So an owner waits at its end for the markers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import msgspec

from streams.connect.broker.log_range import until_readable
from streams.connect.broker.opened import opened
from streams.connect.broker.torn_commit import Landing, aborted_at
from streams.core.clock import Clock
from streams.core.errors import ChangelogLost, CommitInDoubt, DiaError, PartitionRestart
from streams.core.resilience.deadline import Deadline, DeadlinePassed
from streams.core.topics.topic import Topic, replay_group
from streams.core.topics.topology import Topology
from streams.core.types import (
    Broker,
    CommittedOffset,
    LogReader,
    OutboundRecord,
    TopicPartition,
    TransactionalProducer,
)
from streams.operate.replay.journal.journal import DecisionsLost, Entry, entry_at, record
from streams.operate.replay.journal.status import PartitionStatus, read_standing, way_out

COMMIT_TIMEOUT_S = 30.0


def transactional_id(source: Topic, partition: int) -> str:
    return f"{replay_group(source.app)}-{source.dlq}-{partition}"


def decided_group(source: Topic) -> str:
    """Its offsets on a DLQ count the committed entries of the journal."""
    return f"{replay_group(source.app)}-decided"


@dataclass(slots=True)
class QueueOwner:
    """After an error of `commit`, only close it."""

    topology: Topology
    source: Topic
    partition: int
    standing: PartitionStatus
    reader: LogReader
    clock: Clock
    _producer: TransactionalProducer

    @property
    def dlq(self) -> TopicPartition:
        return TopicPartition(self.source.dlq, self.partition)

    async def commit(
        self, entries: Sequence[Entry], records: Sequence[OutboundRecord] = ()
    ) -> None:
        """P6: one transaction of ``records`` and the journal's ``entries``, whose ``seq`` is set
        here. Raises `ProducerFenced` and `CommitInDoubt`: then the journal has the outcome."""
        seq = self.standing.seq
        numbered = [
            msgspec.structs.replace(entry, seq=seq + number)
            for number, entry in enumerate(entries, 1)
        ]
        said = [record(self.standing.journal, entry) for entry in numbered]
        deadline = Deadline(self.clock, COMMIT_TIMEOUT_S)
        try:
            await deadline.wait(self._transaction(records, said, seq + len(said)))
        except DeadlinePassed as error:
            raise CommitInDoubt(
                f"a replay step of {self.dlq} took longer than {COMMIT_TIMEOUT_S:g} s"
            ) from error
        except PartitionRestart:
            raise
        except DiaError as error:
            raise CommitInDoubt(f"a replay step of {self.dlq} failed: {error}") from error
        for entry in numbered:
            self.standing.apply(entry)

    async def _transaction(
        self, records: Sequence[OutboundRecord], entries: Sequence[OutboundRecord], seq: int
    ) -> None:
        await self._producer.begin()
        sent = await self._producer.send_many(records)
        landings = [await self._producer.send(entry) for entry in entries]
        await sent
        at = [await landing for landing in landings][-1]
        landing = Landing(seq - len(entries) + 1, at)
        await self._producer.send_offsets(
            {self.dlq: CommittedOffset(seq, str(landing))}, decided_group(self.source)
        )
        await self._producer.commit()


async def _decided(broker: Broker, source: Topic, partition: int) -> CommittedOffset:
    """The number of the last committed journal entry; 0 when unknown."""
    dlq = TopicPartition(source.dlq, partition)
    async with opened(broker.admin()) as admin:
        committed = (await admin.committed(decided_group(source), [dlq])).get(dlq)
    return committed or CommittedOffset(0, "")


async def _is_torn(
    reader: LogReader, journal: TopicPartition, decided: CommittedOffset, last: int
) -> bool:
    """Whether the transaction of ``decided`` is aborted, and would follow entry ``last``."""
    landing = Landing.of(decided)
    if landing is None or landing.first != last + 1:
        return False
    found = await aborted_at(reader, journal, landing.at)
    if found is None:
        return False
    entry = entry_at(journal, landing.at, found)
    return entry.seq == decided.offset and not isinstance(entry, DecisionsLost)


@asynccontextmanager
async def owned(
    broker: Broker,
    clock: Clock,
    topology: Topology,
    source: Topic,
    partition: int,
    *,
    checked: bool = True,
    whole: bool = True,
) -> AsyncIterator[QueueOwner]:
    """Own the partition inside the block; ``checked`` and ``whole`` as in `read_standing`.

    Raises `BrokerUnavailable`, `UnknownTopic`, and `PartitionStopped` kinds for an incomplete
    journal."""
    journal = TopicPartition(source.journal, partition)
    producer = broker.transactional_producer(transactional_id(source, partition))
    reader = await broker.reader()
    try:
        await producer.start()  # P2
        decided = await _decided(broker, source, partition)
        standing = await read_standing(
            reader, source, partition, checked=checked, whole=whole
        )  # P3
        if standing.seq < decided.offset and not await _is_torn(
            reader, journal, decided, standing.seq
        ):
            lost = ChangelogLost(
                f"{journal} ends with entry {standing.seq}, but entry {decided.offset} was "
                f"committed: its newest decisions are lost, so nothing can be replayed exactly once "
                f"any more. {way_out(source)}"
            )
            if whole:
                raise lost
            standing.fault, standing.seq = standing.fault or lost, decided.offset
        owner = QueueOwner(topology, source, partition, standing, reader, clock, producer)
        first = standing.seq
        yield owner
        if standing.seq > first:
            await until_readable(reader, journal, clock)
    finally:
        await asyncio.gather(producer.close(), reader.close())
