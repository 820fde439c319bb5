"""Operator actions on the poison breaker: stopped partitions, their reset (B2), and tenants in
quarantine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from streams.connect.broker.opened import opened
from streams.core.clock import Clock
from streams.core.errors import CommitInDoubt, DiaError, PartitionRestart
from streams.core.topics.topology import Topology
from streams.core.types import Admin, Broker, TopicPartition
from streams.engine.runtime.assignment import transactional_id
from streams.engine.runtime.poison.poison_register import (
    LET_THROUGH,
    STOPPED,
    Word,
    read_words,
    register_group,
    write_word,
)
from streams.engine.runtime.poison.quarantine_register import QuarantineWord, read_quarantines


class BreakerState(NamedTuple):
    """An open breaker or a reset in force. ``committed`` is None before the group's first commit;
    ``end`` is the last stable offset."""

    group: str
    tp: TopicPartition
    word: Word
    committed: int | None
    end: int

    @property
    def stopped(self) -> bool:
        return self.word.state == STOPPED


async def states(broker: Broker, topology: Topology) -> list[BreakerState]:
    """Every partition that is stopped, or has not yet committed past its reset. Raises
    `BrokerUnavailable`."""
    async with opened(broker.admin()) as admin:
        topics = await admin.describe_topics()
        said = [
            (group, tp, word, committed)
            for group, topic in topology.read
            if topic in topics
            for tp, word, committed in await _said(admin, group, topic, topics[topic].partitions)
        ]
    async with opened(broker.reader()) as reader:
        return [
            BreakerState(group, tp, word, committed, await reader.last_stable_offset(tp))
            for group, tp, word, committed in said
        ]


async def quarantines(
    broker: Broker, clock: Clock, topology: Topology
) -> list[tuple[str, TopicPartition, QuarantineWord]]:
    """Each partition with tenants in quarantine. Raises `BrokerUnavailable`."""
    async with opened(broker.admin()) as admin:
        topics = await admin.describe_topics()
        found = []
        for group, topic in topology.read:
            if topic not in topics:
                continue
            tps = [TopicPartition(topic, number) for number in range(topics[topic].partitions)]
            words = await read_quarantines(admin, group, tps, clock.now_ms())
            found += [(group, tp, word) for tp, word in sorted(words.items())]
        return found


async def _said(
    admin: Admin, group: str, topic: str, partitions: int
) -> Sequence[tuple[TopicPartition, Word, int | None]]:
    tps = [TopicPartition(topic, number) for number in range(partitions)]
    words = await read_words(admin, group, tps)
    committed = await admin.committed(group, words, stable=False)
    found = []
    for tp, word in sorted(words.items()):
        at = committed[tp].offset if tp in committed else None
        beyond = word.offset - (word.state == LET_THROUGH)
        if at is None or at <= beyond:
            found.append((tp, word, at))
    return found


async def let_through(broker: Broker, clock: Clock, stopped: BreakerState, actor: str) -> Word:
    """B2: records up to ``stopped.end`` pass; bad ones become dead letters.

    Uses a producer of its own: the partition's belongs to its owner. Raises `BrokerUnavailable`,
    and `DiaError` when the outcome is unknown."""
    word = Word(state=LET_THROUGH, offset=stopped.end, at_ms=clock.now_ms(), actor=actor)
    group, tp = stopped.group, stopped.tp
    producer = broker.transactional_producer(transactional_id(register_group(group), tp))
    try:
        await producer.start()
        await write_word(producer, group, tp, word)
    except PartitionRestart as error:
        what = "another reset came between" if not isinstance(error, CommitInDoubt) else str(error)
        raise DiaError(
            f"whether {tp} is let through is unknown: {what}. `dia dlq breaker list` tells; a "
            f"second reset is harmless."
        ) from error
    finally:
        await producer.close()
    return word
