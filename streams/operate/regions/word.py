"""The word: which region is active. Each region's cluster has a journal of words of its own.

A word has an epoch. The epochs of one journal rise strictly: a writer fences the writer before it,
reads the journal to its decided end, and writes nothing that is not newer."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from streams.connect.broker.log_range import decided_end, read_range
from streams.connect.broker.opened import opened
from streams.core.clock import Clock
from streams.core.command_errors import RegionSuperseded
from streams.core.errors import DependencyUnreachable, PartitionRestart
from streams.core.topics.topic import UNLIMITED
from streams.core.types import (
    BROKER_DEFAULT_REPLICATION,
    Broker,
    LogReader,
    OutboundRecord,
    TopicConfig,
    TopicPartition,
)

_KEY = b"region"


class RegionWord(msgspec.Struct, frozen=True, kw_only=True):
    """Region ``active`` serves in ``epoch``, which counts from 1."""

    epoch: int
    active: str
    at_ms: int
    actor: str
    reason: str

    @property
    def rank(self) -> tuple[int, str]:
        """The newest word has the highest. Words of one rank say the same; two regions that were made active
        in one epoch, by commands that did not see each other, are in one order everywhere."""
        return self.epoch, self.active


def newest_of(words: Iterable[RegionWord | None]) -> RegionWord | None:
    """None: a journal without a word."""
    known = (word for word in words if word is not None)
    return max(known, key=lambda word: word.rank, default=None)


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(RegionWord).decode


def journal_of(app: str) -> TopicPartition:
    return TopicPartition(f"{app}.regions", 0)


def writer_id(app: str) -> str:
    """The transactional id: one writer at a time has it."""
    return f"{app}-regions"


def journal_topic(app: str) -> TopicConfig:
    """Kept for ever: one record for each change of the active region."""
    return TopicConfig(
        journal_of(app).topic,
        1,
        BROKER_DEFAULT_REPLICATION,
        {
            "cleanup.policy": "delete",
            "retention.ms": str(UNLIMITED),
            "retention.bytes": str(UNLIMITED),
            "unclean.leader.election.enable": "false",
        },
    )


async def newest_word(
    reader: LogReader, journal: TopicPartition, clock: Clock
) -> RegionWord | None:
    """The last word, once every open transaction is decided; None for an empty journal.

    Raises `BrokerUnavailable`, and `UnknownTopic` before `dia region init`."""
    return newest_of(await every_word(reader, journal, clock))


async def every_word(reader: LogReader, journal: TopicPartition, clock: Clock) -> list[RegionWord]:
    """In the order of the journal. Raises as `newest_word`."""
    end = await decided_end(reader, journal, clock)
    found: list[RegionWord] = []
    async for batch in read_range(reader, journal, await reader.beginning_offset(journal), end):
        found += [_decode(value) for value in batch.values if value is not None]
    return found


async def write_word(broker: Broker, app: str, word: RegionWord, clock: Clock) -> None:
    """Append ``word`` unless the journal has it.

    Raises `RegionSuperseded` where the journal has a newer word, or another one of this epoch;
    `DependencyUnreachable` where the outcome is unknown, which running the command again tells;
    `BrokerUnavailable` and `UnknownTopic`."""
    journal = journal_of(app)
    producer = broker.transactional_producer(writer_id(app))
    try:
        await producer.start()
        async with opened(broker.reader()) as reader:
            newest = await newest_word(reader, journal, clock)
        if newest is not None and newest.epoch >= word.epoch:
            if newest.rank == word.rank:
                return
            raise RegionSuperseded(
                f"the journal says that {newest.active} is active in epoch {newest.epoch}, by "
                f"{newest.actor}: {word.active} in epoch {word.epoch} comes too late. "
                "`dia region status` shows every region's word."
            )
        await producer.begin()
        await (await producer.send(OutboundRecord(journal, _KEY, _encode(word))))
        await producer.commit()
    except PartitionRestart as error:
        raise DependencyUnreachable(
            f"whether the word of epoch {word.epoch} stands is unknown: {error}. Run the same "
            "command again: it goes on where it stopped."
        ) from error
    finally:
        await producer.close()
