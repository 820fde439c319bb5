"""A part of the source that cannot be folded: a batch that cannot be opened (`BatchUnreadable`), or
one with producer timestamps (`SourceNotLogAppendTime`). See docs/protocols/shedding.md.

 O1  fold nothing at or behind the obstacle
 O2  stop the partition once its committed offset is there
 O3  `dia shed run --unreadable` orders to skip exactly its offsets
 O4  wait for that order or one by age that covers the obstacle, until the log can be read there, or
     until another process has committed past it: the group may have given it the partition, and
     taken it back, unnoticed
"""

from __future__ import annotations

from typing import NamedTuple

import structlog

from streams.connect.broker.opened import opened
from streams.core.clock import Clock
from streams.core.errors import (
    BatchUnreadable,
    PartitionStopped,
    SourceNotLogAppendTime,
    TransientError,
)
from streams.core.types import Broker, OffsetOutOfRange, RecordBatch, TopicPartition
from streams.engine.runtime.offsets.commit_mark import is_past
from streams.engine.runtime.offsets.shed_order import read_orders

LOOK_S = 2.0
_LOOKS_A_READ = 10

log = structlog.get_logger(__name__)


PRODUCERS_TIMES = (
    "appended with message.timestamp.type=CreateTime, so their times are the producer's, but ages "
    "and TTLs are counted in append time"
)


class Obstacle(NamedTuple):
    """The first offset that cannot be folded; ``epoch`` is that of the partition's state."""

    offset: int
    epoch: int
    error: PartitionStopped


def producers_times(batch: RecordBatch) -> SourceNotLogAppendTime:
    first, last = batch.offsets[0], batch.offsets[-1]
    topic = batch.tp.topic
    return SourceNotLogAppendTime(
        f"{batch.tp}: offsets {first} to {last} were {PRODUCERS_TIMES}. `dia topics apply` sets "
        "LogAppendTime again; `dia shed run "
        f"--topic {topic} --unreadable --reason WHY` skips these records and counts them; `dia "
        "shed return` sends them again."
    )


async def gone(
    broker: Broker, group: str, tp: TopicPartition, clock: Clock, obstacle: Obstacle
) -> None:
    """O4: return once the obstacle can be skipped or read, or is passed."""
    looks = 0
    while True:
        await clock.sleep(LOOK_S)
        looks += 1
        try:
            if await _ordered_or_passed(broker, group, tp, obstacle):
                log.warning("unreadable_skipped", tp=str(tp), offset=obstacle.offset)
                return
            if looks % _LOOKS_A_READ == 0 and await _readable(broker, tp, obstacle):
                log.warning("unreadable_record_readable", tp=str(tp), offset=obstacle.offset)
                return
        except TransientError:
            continue


async def _ordered_or_passed(
    broker: Broker, group: str, tp: TopicPartition, obstacle: Obstacle
) -> bool:
    async with opened(broker.admin()) as admin:
        order = (await read_orders(admin, group, [tp])).get(tp)
        committed = (await admin.committed(group, [tp])).get(tp)
    if is_past(committed, obstacle.offset, obstacle.epoch):
        return True
    return order is not None and order.covers(obstacle.offset, obstacle.epoch)


async def _readable(broker: Broker, tp: TopicPartition, obstacle: Obstacle) -> bool:
    reader = await broker.reader()
    try:
        return (await reader.read(tp, obstacle.offset, 1)).append_times
    except BatchUnreadable:
        return False
    except OffsetOutOfRange:
        return True  # A4 handles it
    finally:
        await reader.close()
