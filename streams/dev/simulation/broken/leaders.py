"""Engines that ignore changes of leaders and coordinators
(streams/dev/simulation/broken/variants.py)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from streams.connect.broker.memory.reader import MemoryReader
from streams.core.types import TopicPartition
from streams.dev.simulation.variant import Variant, replaced
from streams.engine.agents.job_agent import Agent
from streams.engine.runtime.assignment import Opened, Opener, transactional_id
from streams.engine.runtime.restore.source_check import Reached, check_source


async def _restored_before_the_fence(
    self: Opener, agent: Agent, tp: TopicPartition, fenced: Callable[[], None]
) -> Opened:
    """A3 before A1: a commit with a pending marker lies behind the last stable offset."""
    producer = self.broker.transactional_producer(transactional_id(agent.group, tp))
    reader = await self.broker.reader()
    try:
        committed, passes, shed = await self._committed(agent, tp)
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
    partition = self._partition(agent, state, passes)
    if shed is not None:
        partition.shed(shed)
    return Opened(partition, producer, read, epoch)


async def _end_of_a_new_leader(self: MemoryReader, tp: TopicPartition) -> int:
    """A new leader's end, before its followers report theirs, is taken for the true one."""
    await self._cluster.call("read")
    return self._cluster.replicas.last_stable_offset(self._cluster.log(tp))


BROKEN_LEADERS: Mapping[str, Variant] = {
    "restored_before_the_fence": replaced(Opener, open=_restored_before_the_fence),
    "end_of_a_new_leader_believed": replaced(MemoryReader, last_stable_offset=_end_of_a_new_leader),
}
