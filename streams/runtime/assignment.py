"""A1 to A5: from "this partition is ours" to a partition that may take records.

 A1  start the transactional producer: the previous owner is fenced, its transaction aborted
 A2  open the store; one that is corrupt, locked or too old is left for a fresh one
 A3  follow the changelog to its last stable offset (runtime/restore.py)
 A4  check that the source still is what the state was built from, and where to go on
 A5  every effect still owed is handed to its target again, by the caller, who then resumes

The order matters: only after A1 can nobody else append to the changelog that A3 reads.
Truth is what the log holds; the store is its cache, and the committed offset is for displays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from streams.agent import AgentSpec
from streams.clock import Clock
from streams.errors import ChangelogLost, SourceTruncated, StoreUnusable, TopicRecreated
from streams.runtime.partition import Partition
from streams.runtime.restore import restore
from streams.runtime.state import PartitionState, StoreMeta, read_meta
from streams.types import (
    Broker,
    CommittedOffset,
    LogReader,
    OffsetOutOfRange,
    Store,
    StoreFactory,
    TopicPartition,
    TransactionalProducer,
)
from tables import OUTBOX
from tables.changelog import Counters, Link
from tables.table import ShardOf, TableContext
from streams.settings import Settings

_FRESH_ATTEMPTS = 3
"""A zombie may trim the changelog under a fresh restore, but each time only further on."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A partition after A4, and the producer that owns it."""

    partition: Partition
    producer: TransactionalProducer
    restored_records: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Opener:
    """Everything A1 to A4 need; one per consumer group and process."""

    broker: Broker
    stores: StoreFactory
    clock: Clock
    settings: Settings
    shards: int
    shard_of: ShardOf

    async def open(
        self, agent: AgentSpec, tp: TopicPartition, fenced: Callable[[], None]
    ) -> Opened:
        """Run A1 to A4; ``fenced`` is called after A1.

        Raises `PartitionStopped` kinds for an operator, `PartitionRestart` and `TransientError`
        kinds to try again. Nothing stays open when it raises.
        """
        producer = self.broker.transactional_producer(f"{agent.group}-{tp.topic}-{tp.partition}")
        reader = await self.broker.reader()
        try:
            await producer.start()  # A1
            fenced()
            committed = await self._committed(agent, tp)
            state, read = await self._state(agent, tp, reader, committed)  # A2, A3
            try:
                await check_source(state, reader)  # A4
            except BaseException:
                state.store.close()
                raise
        except BaseException:
            await producer.close()
            raise
        finally:
            await reader.close()
        return Opened(Partition(agent, state, self.clock), producer, read)

    async def _committed(self, agent: AgentSpec, tp: TopicPartition) -> CommittedOffset | None:
        admin = await self.broker.admin()
        try:
            return (await admin.committed(agent.group, [tp])).get(tp)
        finally:
            await admin.close()

    async def _state(
        self,
        agent: AgentSpec,
        tp: TopicPartition,
        reader: LogReader,
        committed: CommittedOffset | None,
    ) -> tuple[PartitionState, int]:
        """A2 and A3, in a fresh store where the one at hand does not do."""
        for attempt in range(_FRESH_ATTEMPTS):
            try:
                return await self._attempt(agent, tp, reader, committed, fresh=attempt > 0)
            except (StoreUnusable, OffsetOutOfRange) as error:
                last: Exception = error
        raise StoreUnusable(f"the state of {tp} could not be restored: {last}") from last

    async def _attempt(
        self,
        agent: AgentSpec,
        tp: TopicPartition,
        reader: LogReader,
        committed: CommittedOffset | None,
        *,
        fresh: bool,
    ) -> tuple[PartitionState, int]:
        store = self.stores(tp, fresh)
        try:
            meta = read_meta(store)
            changelog = TopicPartition(agent.source.changelog(agent.group), tp.partition)
            state = await self._start(agent, tp, changelog, store, meta, reader)
            read = await restore(state, reader, chained=meta is not None)
            if meta is None and not read and committed is not None:
                raise ChangelogLost(
                    f"group {agent.group} has committed offset {committed.offset} of {tp}, but "
                    f"its changelog {changelog} is empty: the state is gone. An operator "
                    f"decides: `dia tables reset`."
                )
            state = self._with_epoch(state)
            state.load()
        except BaseException:
            store.close()
            raise
        return state, read

    async def _start(
        self,
        agent: AgentSpec,
        tp: TopicPartition,
        changelog: TopicPartition,
        store: Store,
        meta: StoreMeta | None,
        reader: LogReader,
    ) -> PartitionState:
        """The state as the store has it; before the very first commit, an empty one."""
        if meta is not None:
            link, offset = meta.link, meta.changelog_offset
        else:
            link = first_link(await reader.beginning_offset(tp))
            offset = await reader.beginning_offset(changelog)
        specs = (*agent.tables, OUTBOX)
        context = self._context(tp, link.epoch)
        return PartitionState(tp, changelog, store, context, specs, link, offset)

    def _with_epoch(self, state: PartitionState) -> PartitionState:
        """Tables are built with the epoch that the chain, read to its end, turned out to have."""
        if state.link.epoch == state.context.epoch:
            return state
        return PartitionState(
            state.tp,
            state.changelog,
            state.store,
            self._context(state.tp, state.link.epoch),
            state.specs,
            state.link,
            state.changelog_offset,
        )

    def _context(self, tp: TopicPartition, epoch: int) -> TableContext:
        return TableContext(
            partition=tp.partition,
            epoch=epoch,
            shards=self.shards,
            shard_of=self.shard_of,
            settings=self.settings,
        )


def first_link(start_offset: int) -> Link:
    """The link before the first: a new group begins at the log's start, by our own decision."""
    return Link(
        seq=0,
        epoch=0,
        part=0,
        parts=1,
        from_offset=start_offset,
        next_offset=start_offset,
        base_offset=0,
        last_offset=-1,
        last_append_ms=0,
        watermark_ms=0,
        start_offset=start_offset,
        written_bytes=0,
        counters=Counters(),
    )


async def check_source(state: PartitionState, reader: LogReader) -> None:
    """A4. Raises `TopicRecreated` or `SourceTruncated`; never resets in silence."""
    tp, link = state.tp, state.link
    begin = await reader.beginning_offset(tp)
    end = await reader.last_stable_offset(tp)
    if link.last_offset >= max(begin, 0):
        await _check_last_record(state, reader, end)
    if link.next_offset < begin:
        raise SourceTruncated(
            f"{tp}: offsets {link.next_offset} to {begin - 1} were never consumed and are gone "
            f"from the log. Give the topic more retention; to go on without them: "
            f"`dia tables reset --resume-at-start`."
        )
    if link.next_offset > end:
        raise TopicRecreated(_recreated(state, f"the log ends at {end}"))


async def _check_last_record(state: PartitionState, reader: LogReader, end: int) -> None:
    """The last consumed record, while retained, must still be the one that was consumed."""
    tp, link = state.tp, state.link
    if link.last_offset >= end:
        raise TopicRecreated(_recreated(state, f"the log ends at {end}"))
    try:
        batch = await reader.read(tp, link.last_offset, 1)
    except OffsetOutOfRange:
        return  # trimmed between the two calls: it can no longer tell us anything
    found = list(zip(batch.offsets, batch.timestamps, strict=True))[:1]
    if found != [(link.last_offset, link.last_append_ms)]:
        raise TopicRecreated(_recreated(state, f"offset {link.last_offset} holds another record"))


def _recreated(state: PartitionState, why: str) -> str:
    return (
        f"{state.tp} is not the topic this state was built from: {why}, the state was built up to "
        f"offset {state.link.next_offset}. If the topic was deleted and recreated: "
        f"`dia tables reset`."
    )
