"""A1 to A4 of an assigned partition (docs/protocols/commit.md); A5 follows in runtime/assigned.py.

 A1  start the transactional producer, which fences the previous owner
 A2  open the store, or an empty one
 A3  read the changelog to its last stable offset
 A4  check that the source is the log that the state was built from
 A5  hand every owed effect to its target again

A2 and A3 drop a store whose epoch is lower than the log's last one (a reset). The committed offset
names epoch and number of its commit: a chain that ends before that link lost its end
(runtime/offsets/commit_mark.py), unless the log holds the link as aborted
(runtime/restore/torn_link.py).
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import structlog

from streams.connect.broker.opened import opened
from streams.core.clock import Clock
from streams.core.errors import (
    ChangelogGap,
    ChangelogLost,
    ShardMapChanged,
    ShardUnavailable,
    StoreUnusable,
    UnknownTopic,
)
from streams.core.process.process_usage import ProcessUsage
from streams.core.rows.built_in_tables import MAP_HINT, ShardSet
from streams.core.rows.dated_map import MapIdentity
from streams.core.rows.row_sink import DeclaredSink
from streams.core.rows.targets import Targets
from streams.core.settings import Settings
from streams.core.types import (
    Broker,
    CommittedOffset,
    LogReader,
    OffsetOutOfRange,
    Store,
    StoreFactory,
    TopicPartition,
    TransactionalProducer,
)
from streams.engine.agents.job_agent import Agent, JobAgent
from streams.engine.agents.series_agent import SeriesAgent
from streams.engine.agents.stream_agent import StreamAgent
from streams.engine.agents.window_agent import WindowAgent
from streams.engine.engine_tables import OUTBOX
from streams.engine.runtime.effects.owed import Owed
from streams.engine.runtime.jobs.dispatcher import Dispatcher
from streams.engine.runtime.jobs.job_partition import JobPartition
from streams.engine.runtime.jobs.request_log import RequestLog
from streams.engine.runtime.offsets.close_order import CloseOrder, read_close_orders
from streams.engine.runtime.offsets.commit_mark import is_of, lost_links
from streams.engine.runtime.offsets.shed_order import ShedOrder, read_orders
from streams.engine.runtime.partition.partition import Partition
from streams.engine.runtime.partition.stream_partition import StreamPartition
from streams.engine.runtime.partition.window_partition import WindowPartition
from streams.engine.runtime.poison.poison_register import pass_mark
from streams.engine.runtime.restore.restore import restore
from streams.engine.runtime.restore.source_check import Reached, check_source
from streams.engine.runtime.restore.state import PartitionState, StoreMeta, read_meta
from streams.engine.runtime.restore.survey import survey
from streams.engine.runtime.restore.torn_link import is_torn
from streams.engine.state.changelog import Counters, Link
from streams.engine.state.placements import unknown
from streams.engine.state.table import TableContext
from streams.engine.streams.topic_sizes import TopicSizes
from streams.engine.windows.fingerprint import SECRET_BYTES, Entropy

log = structlog.get_logger(__name__)

_FRESH_ATTEMPTS = 3
"""A fenced process may trim the changelog during a restore; each attempt starts further on."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A partition after A4, and its producer."""

    partition: Partition
    producer: TransactionalProducer
    restored_records: int
    leader_epoch: int
    """of the last consumed record; -1: unknown"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opener:
    """The dependencies of A1 to A4; one per consumer group and process."""

    broker: Broker
    stores: StoreFactory
    clock: Clock
    settings: Settings
    shards: ShardSet
    dispatchers: Mapping[str, Dispatcher] = field(default_factory=dict)
    """by name of the job agent"""
    request_log: RequestLog | None = None
    """for job agents; None: one for each partition"""
    entropy: Entropy = os.urandom
    sinks: Mapping[str, DeclaredSink] = field(default_factory=dict)
    """by name"""
    process: ProcessUsage = field(default_factory=ProcessUsage)
    whole: dict[str, int] = field(default_factory=dict)
    """by source: partitions that its companion topics had at the start, all of them; one beyond is
    looked for when it opens"""
    look_for_maps: Callable[[], Awaitable[None]] | None = None
    """reads the servers' shard maps for the whole process; None: for ``shards`` only"""

    async def learn(self) -> None:
        look = self.look_for_maps or self.shards.learn
        await look()

    async def open(self, agent: Agent, tp: TopicPartition, fenced: Callable[[], None]) -> Opened:
        """Run A1 to A4; ``fenced`` is called after A1.

        Raises `PartitionStopped` (an operator must decide), `PartitionRestart` and `TransientError`
        (retry), and `ShardMapChanged`. After an error nothing stays open.
        """
        if tp.partition >= self.whole.get(tp.topic, tp.partition + 1):
            await self._require_partners(agent, tp)
        producer = self.broker.transactional_producer(transactional_id(agent.group, tp))
        reader = await self.broker.reader()
        try:
            await producer.start()  # A1
            fenced()
            committed, passes, shed, close = await self._committed(agent, tp)
            sends = not isinstance(agent, JobAgent | SeriesAgent)
            sizes = await self._sizes() if sends else {}
            state, read = await self._state(agent, tp, reader, committed)  # A2, A3
            try:
                epoch = await check_source(tp, Reached.of(state.link), reader)  # A4
            except BaseException:
                state.store.close()
                raise
        except BaseException:
            await producer.close()
            raise
        finally:
            await reader.close()
        partition = self._partition(agent, state, passes, TopicSizes(sizes, producer.partitions))
        partition.offset_moved = _is_moved(committed, state.link)
        partition.history.process = self.process
        if close is not None:
            partition.take_close_order(close)
        if shed is not None:
            partition.shed(shed)
        return Opened(partition, producer, read, epoch)

    async def compare(self, partition: Partition, leader_epoch: int) -> None:
        """A4 for a running partition; ``leader_epoch`` is that of its last folded record. Raises as
        `check_source`."""
        async with opened(self.broker.reader()) as reader:
            await check_source(partition.tp, partition.reached, reader, leader_epoch)

    def _partition(
        self,
        agent: Agent,
        state: PartitionState,
        passes: int,
        sizes: TopicSizes,
    ) -> Partition:
        if isinstance(agent, JobAgent):
            dispatcher, log = self.dispatchers[agent.name], self.request_log
            if log is None:
                log = RequestLog(self.broker, self.clock)
            return JobPartition(agent, state, self.clock, dispatcher, log, passes, self._map)
        if isinstance(agent, StreamAgent):
            return StreamPartition(agent, state, self.clock, passes, self._map, sizes)
        if isinstance(agent, WindowAgent):
            return WindowPartition(agent, state, self.clock, passes, self._map, sizes)
        return Partition(agent, state, self.clock, passes, self._map, sizes)

    def _map(self) -> str:
        """The shard map for new links; "" until a server confirmed it, as the settings may be
        wrong."""
        return str(self.shards.identity) if self.shards.confirmed else ""

    async def _require_partners(self, agent: Agent, tp: TopicPartition) -> None:
        """Raises `UnknownTopic`. A source that an operator made larger runs ahead of its companions
        until `dia topics apply`."""
        sizes = await self._sizes()
        for name in partners(agent):
            if sizes.get(name, 0) <= tp.partition:
                raise UnknownTopic(f"{name}/{tp.partition} does not exist. Run `dia topics apply`.")

    async def _sizes(self) -> dict[str, int]:
        async with opened(self.broker.admin()) as admin:
            topics = await admin.describe_topics()
        return {name: topic.partitions for name, topic in topics.items()}

    async def _committed(
        self, agent: Agent, tp: TopicPartition
    ) -> tuple[CommittedOffset | None, int, ShedOrder | None, CloseOrder | None]:
        """The group's offset, the offset below which poison passes (B4), the shed order (X3), and the
        order to close held windows."""
        async with opened(self.broker.admin()) as admin:
            committed = (await admin.committed(agent.group, [tp])).get(tp)
            orders = await read_orders(admin, agent.group, [tp])
            closes = {}
            if isinstance(agent, StreamAgent | WindowAgent):
                closes = await read_close_orders(admin, agent.group, [tp])
            passes = await pass_mark(admin, agent.group, tp)
            return committed, passes, orders.get(tp), closes.get(tp)

    async def _state(
        self,
        agent: Agent,
        tp: TopicPartition,
        reader: LogReader,
        committed: CommittedOffset | None,
    ) -> tuple[PartitionState, int]:
        """A2 and A3; retries in an empty store if the present one is unusable."""
        begin: int | None = None
        last: Exception | None = None
        for attempt in range(_FRESH_ATTEMPTS):
            try:
                store = self.stores(tp, attempt > 0)
                return await self._attempt(agent, tp, store, reader, committed, begin)
            except (StoreUnusable, OffsetOutOfRange) as error:
                last = error
            except _Superseded as error:
                begin, last = error.begin, error
        raise StoreUnusable(f"the state of {tp} could not be restored: {last}") from last

    async def _attempt(
        self,
        agent: Agent,
        tp: TopicPartition,
        store: Store,
        reader: LogReader,
        committed: CommittedOffset | None,
        begin: int | None,
    ) -> tuple[PartitionState, int]:
        """Restore into ``store``. An empty store reads the changelog from ``begin``; None: from its
        start."""
        changelog = TopicPartition(agent.source.changelog(agent.group), tp.partition)
        meta = None
        try:
            meta = read_meta(store)
            state = await self._start(agent, tp, changelog, store, meta, reader, begin)
            read = await restore(state, reader, chained=meta is not None)
            await _check_end(reader, agent.group, state, committed, empty=meta is None and not read)
            await self._check_maps(state)
            state = self._with_epoch(state)
            folded = state.link.last_day, state.link.next_offset
            state.take_maps(self.shards.maps, folded, loaded=False)
            await state.load()
            state.take_maps(self.shards.maps, folded, owes=Owed().owes)
        except (ChangelogLost, ChangelogGap) as error:
            store.close()
            opened = await self._opened_above(meta, reader, changelog) if begin is None else None
            if opened is None:
                raise
            raise _Superseded(opened) from error
        except BaseException:
            store.close()
            raise
        return state, read

    async def _check_maps(self, state: PartitionState) -> None:
        """D7. Raises as `check_map`."""
        link = state.link
        if unknown(link.later_maps, self.shards.maps) is not None or link.maps_lost:
            await self.learn()  # another process may have taken a map a moment ago
        check_map(state, self.shards)

    async def _opened_above(
        self, meta: StoreMeta | None, reader: LogReader, changelog: TopicPartition
    ) -> int | None:
        """The changelog offset at which an epoch above the store's begins; None if there is none.

        Without a store, only a link written by a reset counts.
        """
        found = await survey(reader, changelog)
        if meta is None or found.last is None:
            return found.reset_offset
        if found.last.epoch <= meta.link.epoch:
            return None
        return found.begin_offset if found.reset_offset is None else found.reset_offset

    async def _start(
        self,
        agent: Agent,
        tp: TopicPartition,
        changelog: TopicPartition,
        store: Store,
        meta: StoreMeta | None,
        reader: LogReader,
        begin: int | None,
    ) -> PartitionState:
        if meta is not None:
            link, offset = meta.link, meta.changelog_offset
        else:
            secret = self.entropy(SECRET_BYTES)
            link = first_link(await reader.beginning_offset(tp), secret)
            offset = await reader.beginning_offset(changelog) if begin is None else begin
        specs = (*agent.tables, OUTBOX)
        context = self._context(tp, link.epoch, store)
        return PartitionState(tp, changelog, store, context, specs, link, offset)

    def _with_epoch(self, state: PartitionState) -> PartitionState:
        if state.link.epoch == state.context.epoch:
            return state
        return PartitionState(
            state.tp,
            state.changelog,
            state.store,
            self._context(state.tp, state.link.epoch, state.store),
            state.specs,
            state.link,
            state.changelog_offset,
        )

    def _context(self, tp: TopicPartition, epoch: int, store: Store) -> TableContext:
        return TableContext(
            partition=tp.partition,
            epoch=epoch,
            shards=self.shards.maps[0].shards,
            shard_of=self.shards.maps[0].shard_of,
            settings=self.settings,
            files=store.files,
            targets=Targets(self.shards.tables, self.sinks),
        )


class _Superseded(Exception):  # noqa: N818 - a signal between two attempts, not an error
    """The store is outdated: the changelog opens a higher epoch at ``begin``."""

    def __init__(self, begin: int) -> None:
        super().__init__(f"the changelog opens a new epoch at offset {begin}")
        self.begin = begin


def transactional_id(group: str, tp: TopicPartition) -> str:
    """The transactional id of a partition's only producer. The name of a group has no dot, so groups and topics
    that join to the same text have different ids."""
    return f"{group}.{tp.topic}-{tp.partition}"


def _is_moved(committed: CommittedOffset | None, last: Link) -> bool:
    if last.seq == 0:
        return committed is not None
    return not is_of(committed, last)


async def _check_end(
    reader: LogReader,
    group: str,
    state: PartitionState,
    committed: CommittedOffset | None,
    *,
    empty: bool,
) -> None:
    """Check that the chain holds the link of the committed offset: both are one transaction.

    ``empty``: there is no chain. Raises `ChangelogLost`, unless the commit is torn
    (runtime/restore/torn_link.py).
    """
    lost = None if empty else lost_links(state.link, committed)
    if committed is None or not (empty or lost):
        return
    if await is_torn(reader, state.changelog, committed, None if empty else state.link):
        log.warning(
            "commit_torn",
            tp=str(state.tp),
            group=group,
            offset=committed.offset,
            next_offset=state.link.next_offset,
            why="Kafka committed the group's offset but aborted the changelog record of the same "
            "transaction: its coordinator was killed and restarted at once. The records of "
            "that commit are read again.",
        )
        return
    if empty:
        raise ChangelogLost(
            f"group {group} has committed offset {committed.offset} of {state.tp}, but its "
            f"changelog {state.changelog} is empty: the state is gone. An operator decides: "
            f"`dia tables reset`."
        )
    raise ChangelogLost(
        f"changelog {state.changelog} of {state.tp} {lost}, group {group}. An operator "
        f"decides: `dia tables reset`."
    )


def check_map(state: PartitionState, shards: ShardSet) -> None:
    """D7. Raises `ShardMapChanged` if the chain names a map that the servers do not record at its
    place, as rows would then be on two shards and count twice; and `ShardUnavailable` if no server
    has said which maps there are, and the chain names later ones or lost them."""
    placed, mine = MapIdentity.parse(state.link.shard_map), shards.identity
    if placed.digest and placed.digest != mine.digest:
        raise ShardMapChanged(_other_map(state.tp, placed, mine))
    link = state.link
    if link.maps_lost and not shards.confirmed:
        raise ShardUnavailable(
            f"the changelog of {state.tp} was lost, and with it which shard maps and moves of days "
            "the partition had taken; no ClickHouse server has said yet which there are. The "
            "partition opens once one answers."
        )
    missing = unknown(link.later_maps, shards.maps)
    if missing is None:
        return
    if not shards.confirmed:
        raise ShardUnavailable(
            f"rows of {state.tp} are placed by {missing.description}, and no ClickHouse server has "
            "said yet which shard maps there are. The partition opens once one answers."
        )
    raise ShardMapChanged(_other_map(state.tp, missing, shards.maps[-1].identity))


def partners(agent: Agent) -> tuple[str, ...]:
    """The topics in which a partition of the agent's source writes the partition of its number."""
    source = agent.source
    results = (agent.results.name,) if isinstance(agent, JobAgent) else ()
    return source.changelog(agent.group), source.dlq, *results


def _other_map(tp: TopicPartition, placed: MapIdentity, mine: MapIdentity) -> str:
    return (
        f"rows of {tp} are placed by {placed.description} [{placed.digest}], and this process has "
        f"{mine.description} [{mine.digest}]. {MAP_HINT}"
    )


def first_link(start_offset: int, secret: bytes) -> Link:
    """The link before the first commit: a new group begins at the start of the log."""
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
        secret=secret,
    )
