"""Stops of the poison breaker and their release by an operator: one word for each partition
(docs/protocols/poison.md).

 B1  the partition's own producer writes `STOPPED`
 B2  `dia dlq breaker reset` writes `LET_THROUGH` at the end of the log
 B3  the stopped worker reads that, or an offset of the group past the stop, which another process committed,
     and opens the partition again
 B4  each later owner reads it too

The word is metadata of an offset (runtime/offsets/offset_words.py). A stop below the group's
committed offset is over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final, Literal

import structlog
from msgspec import Struct

from streams.connect.broker.opened import opened
from streams.core.clock import Clock
from streams.core.errors import CommitInDoubt, DiaError, PoisonStorm, TransientError
from streams.core.resilience.deadline import Deadline, DeadlinePassed
from streams.core.types import Admin, Broker, TopicPartition, TransactionalProducer
from streams.engine.runtime.offsets import offset_words
from streams.engine.runtime.offsets.commit_mark import is_past

STOPPED: Final = "stopped"
LET_THROUGH: Final = "let_through"
LOOK_S = 2.0
CODES_MAX = 5
"""brokers keep at most 4 KiB of metadata with an offset"""

log = structlog.get_logger(__name__)


class Word(Struct, frozen=True, kw_only=True):
    """``offset``: of the stop, or the end of the released range. ``bad`` of ``records`` were bad;
    ``codes``: the most frequent first. ``actor``: the operator."""

    state: Literal["stopped", "let_through"]
    offset: int
    at_ms: int
    bad: int = 0
    records: int = 0
    codes: dict[str, int] = {}
    actor: str = ""


def register_group(group: str) -> str:
    return f"dia-breaker-{group}"


async def read_words(
    admin: Admin, group: str, partitions: Iterable[TopicPartition]
) -> dict[TopicPartition, Word]:
    return await offset_words.read(admin, register_group(group), partitions, Word)


async def pass_mark(admin: Admin, group: str, tp: TopicPartition) -> int:
    """The offset below which the breaker does not count; 0 if none."""
    word = (await read_words(admin, group, [tp])).get(tp)
    return word.offset if word is not None and word.state == LET_THROUGH else 0


async def write_word(
    producer: TransactionalProducer, group: str, tp: TopicPartition, word: Word
) -> None:
    """One transaction of a started producer. Raises `ProducerFenced` or `CommitInDoubt`."""
    await offset_words.write(producer, register_group(group), {tp: (word.offset, word)})


class PoisonRegister:
    def __init__(self, broker: Broker, group: str, clock: Clock, timeout_s: float) -> None:
        self._broker = broker
        self._group = group
        self._clock = clock
        self._timeout_s = timeout_s

    async def tell(
        self, tp: TopicPartition, error: DiaError, producer: TransactionalProducer | None
    ) -> None:
        """B1, if ``error`` is a storm. Raises `PartitionRestart` errors."""
        if not isinstance(error, PoisonStorm) or producer is None:
            return
        word = Word(
            state=STOPPED,
            offset=error.offset,
            at_ms=self._clock.now_ms(),
            bad=error.bad,
            records=error.records,
            codes=dict(Counter(error.codes).most_common(CODES_MAX)),
        )
        deadline = Deadline(self._clock, self._timeout_s)
        try:
            await deadline.wait(write_word(producer, self._group, tp, word))
        except DeadlinePassed as passed:
            raise CommitInDoubt(f"recording the stop of {tp} took too long") from passed

    async def let_through(self, tp: TopicPartition, error: DiaError) -> bool:
        """B3: wait until an operator releases the partition, or another process has passed the stop;
        False at once for another error. Retries while the broker is away."""
        if not isinstance(error, PoisonStorm):
            return False
        while True:
            await self._clock.sleep(LOOK_S)
            try:
                async with opened(self._broker.admin()) as admin:
                    mark = await pass_mark(admin, self._group, tp)
                    committed = (await admin.committed(self._group, [tp])).get(tp)
            except TransientError:
                continue
            if mark > error.offset:
                log.warning("poison_breaker_reset", tp=str(tp), up_to=mark)
                return True
            if is_past(committed, error.offset):
                return True
