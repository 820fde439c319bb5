"""Repairs a journal that does not match its DLQ, or has lost entries."""

from __future__ import annotations

from streams.connect.broker.opened import opened
from streams.core.clock import Clock
from streams.core.errors import TopicRecreated
from streams.core.topics.topic import Topic
from streams.core.topics.topology import Topology
from streams.core.types import Broker, TopicPartition
from streams.operate.replay.journal.dead_letter_mark import check_mark, kept_below
from streams.operate.replay.journal.journal import DecisionsLost, QueueReplaced
from streams.operate.replay.journal.owner import owned
from streams.operate.replay.journal.status import read_standing


async def renew(
    broker: Broker, clock: Clock, topology: Topology, source: Topic, actor: str, reason: str = ""
) -> list[int]:
    """Renew the partitions whose DLQ was recreated or lost its end, and return them. Their journals
    forget decisions on deleted dead letters; unfinished plans there are cancelled. Raises as
    `owned`."""
    renewed = []
    for number in range(await _partitions(broker, source, source.dlq)):
        if await _replaced(broker, source, number):
            async with owned(broker, clock, topology, source, number, checked=False) as owner:
                marks = owner.standing.marks.values()
                kept = await kept_below(owner.reader, owner.dlq, marks)
                entry = QueueReplaced(at_ms=clock.now_ms(), actor=actor, kept=kept, reason=reason)
                await owner.commit([entry])
            renewed.append(number)
    return renewed


async def give_up_lost(
    broker: Broker, clock: Clock, topology: Topology, source: Topic, actor: str, reason: str = ""
) -> list[int]:
    """Continue the partitions whose journals have lost entries, and return them. A dead letter
    decided in a lost entry is open, so it can be replayed a second time. Raises as `owned`."""
    given_up = []
    for number in range(await _partitions(broker, source, source.journal)):
        async with owned(
            broker, clock, topology, source, number, checked=False, whole=False
        ) as owner:
            if owner.standing.fault is not None:
                entry = DecisionsLost(at_ms=clock.now_ms(), actor=actor, reason=reason)
                await owner.commit([entry])
                given_up.append(number)
    return given_up


async def _partitions(broker: Broker, source: Topic, topic: str) -> int:
    """0 without the DLQ or its journal."""
    async with opened(broker.admin()) as admin:
        topics = await admin.describe_topics()
    known = source.journal in topics and source.dlq in topics
    return topics[topic].partitions if known else 0


async def _replaced(broker: Broker, source: Topic, number: int) -> bool:
    reader = await broker.reader()
    try:
        standing = await read_standing(reader, source, number, checked=False)
        await check_mark(reader, TopicPartition(source.dlq, number), standing.mark)
    except TopicRecreated:
        return True
    finally:
        await reader.close()
    return False
