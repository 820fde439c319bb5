"""Engines that over-trust the broker's answers, or ignore torn transactions and changes of leaders
(streams/dev/simulation/broken/variants.py)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from unittest.mock import patch

from streams.connect.broker.log_range import read_some
from streams.connect.broker.memory.admin import MemoryAdmin
from streams.connect.broker.memory.reader import ASK_AGAIN_S, MemoryReader
from streams.core.types import CommittedOffset, LogReader, RecordBatch, TopicPartition
from streams.dev.simulation.variant import Variant, replaced
from streams.engine.agents.job_agent import Agent
from streams.engine.runtime import assignment
from streams.engine.runtime.assignment import Opened, Opener, transactional_id
from streams.engine.runtime.restore import restore
from streams.engine.runtime.restore.source_check import Reached, check_source
from streams.engine.streams.topic_sizes import TopicSizes
from streams.operate.replay.journal import owner


async def _committed_or_nothing(
    self: MemoryAdmin, group: str, partitions: Iterable[TopicPartition], *, stable: bool = True
) -> dict[TopicPartition, CommittedOffset]:
    """As aiokafka's admin client, which ignores the code of the whole answer."""
    await self._cluster.call("admin")
    if self._cluster.refusal("", (), stable=stable):
        return {}
    offsets = self._cluster.group(group).offsets
    return {tp: offsets[tp] for tp in partitions if tp in offsets}


async def _trim_or_everything(self: MemoryAdmin, before: Mapping[TopicPartition, int]) -> None:
    await self._cluster.call("admin")
    for tp, offset in before.items():
        log = self._cluster.log(tp)
        refused = self._cluster.faults.take_refused_trim()
        log.trim(log.high_watermark if refused else offset)


async def _until_nothing_comes(
    reader: LogReader, tp: TopicPartition, start: int, end: int, max_records: int
) -> AsyncIterator[RecordBatch]:
    at = start
    while at < end:
        batch = await reader.read(tp, at, max_records)
        if batch.end == at:
            return
        yield batch
        at = batch.end


class _Throttled(RecordBatch):
    """A reader's result of an answer without topics."""


@contextmanager
def _throttled_is_the_end() -> Iterator[None]:
    async def read(
        self: MemoryReader, tp: TopicPartition, offset: int, max_records: int = 5000
    ) -> RecordBatch:
        while True:
            await self._cluster.call("read")
            batch, stable, _ = self._cluster.fetch(tp, offset, max_records)
            if batch is None:
                return _Throttled(tp, offset, offset)
            if batch.end > offset or offset >= stable:
                return batch
            await self._cluster.clock.sleep(ASK_AGAIN_S)

    async def read_range(
        reader: LogReader, tp: TopicPartition, start: int, end: int, max_records: int
    ) -> AsyncIterator[RecordBatch]:
        at = start
        while at < end:
            batch = await reader.read(tp, at, max_records)
            if isinstance(batch, _Throttled):
                return
            if batch.end == at:
                await read_some(reader, tp, at, end)
            yield batch
            at = batch.end

    with (
        patch.object(MemoryReader, "read", read),
        patch.object(restore, "read_range", read_range),
    ):
        yield


async def _never_torn(
    _reader: LogReader, _log: TopicPartition, _committed: CommittedOffset, _last: object
) -> bool:
    """An offset without its link always proves a loss."""
    return False


async def _restored_before_the_fence(
    self: Opener, agent: Agent, tp: TopicPartition, fenced: Callable[[], None]
) -> Opened:
    """A3 before A1: a commit with a pending marker lies behind the last stable offset."""
    producer = self.broker.transactional_producer(transactional_id(agent.group, tp))
    reader = await self.broker.reader()
    try:
        committed, passes, shed, _ = await self._committed(agent, tp)
        state, read = await self._state(agent, tp, reader, committed)
        try:
            await producer.start()
            fenced()
            epoch = await check_source(tp, Reached.of(state.link), reader)
        except BaseException:
            state.store.close()
            raise
    except BaseException:
        await producer.close()
        raise
    finally:
        await reader.close()
    partition = self._partition(agent, state, passes, TopicSizes())
    if shed is not None:
        partition.shed(shed)
    return Opened(partition, producer, read, epoch)


async def _end_of_a_new_leader(self: MemoryReader, tp: TopicPartition) -> int:
    """A new leader's end, before its followers report theirs, is taken for the true one."""
    await self._cluster.call("read")
    return self._cluster.replicas.last_stable_offset(self._cluster.log(tp))


BROKEN_ANSWERS: Mapping[str, Variant] = {
    "unanswered_offsets_taken_for_none": replaced(MemoryAdmin, committed=_committed_or_nothing),
    "empty_read_taken_for_the_end": replaced(restore, read_range=_until_nothing_comes),
    "committed_offset_not_compared": replaced(assignment, lost_links=lambda *_: None),
    "trimmed_to_the_end_where_refused": replaced(MemoryAdmin, delete_records=_trim_or_everything),
    "throttled_answer_taken_for_the_end": _throttled_is_the_end,
    "torn_commit_taken_for_loss": replaced(assignment, is_torn=_never_torn),
    "torn_decision_taken_for_loss": replaced(owner, _is_torn=_never_torn),
    "restored_before_the_fence": replaced(Opener, open=_restored_before_the_fence),
    "end_of_a_new_leader_believed": replaced(MemoryReader, last_stable_offset=_end_of_a_new_leader),
}
