"""One member of one consumer group: fetch lists, fold them, keep the assignment.

The loop never waits for a commit: partitions commit in their own tasks, side by side, while
records go on being folded. What bounds it: one fetch call at a time, at most
``fetch_max_records`` records in it, and the pressure of each partition (runtime/partition/pressure.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import structlog

from streams.connect.broker.opened import opened
from streams.core.clock import Clock
from streams.core.errors import (
    BatchUnreadable,
    BrokerUnavailable,
    SourceNotLogAppendTime,
    TransientError,
    UnknownTopic,
)
from streams.core.resilience.deadline import Deadline, DeadlinePassed
from streams.core.settings import Settings
from streams.core.telemetry.health import PartitionCounts
from streams.core.telemetry.metrics import Metrics
from streams.core.types import Broker, GroupConsumer, OffsetOutOfRange, TopicPartition
from streams.engine.agents.job_agent import Agent, JobAgent
from streams.engine.runtime.assigned import AssignedPartition
from streams.engine.runtime.assignment import Opener
from streams.engine.runtime.commit.handover import Handover
from streams.engine.runtime.identity import member_id
from streams.engine.runtime.partition.pressure import PAUSE_AT

_TICK_S = 0.25
_RETRY_S = 2.0
_REFUSALS_MAX = 5
"""Fetches in a row that fail before the consumer is replaced: aiokafka's coordination does not
come back from what it takes for a lasting error."""
_TURNS = 4
"""Of the loop, between two folds: an answer of the broker takes three to reach the task that waits for it."""
_REQUESTS_AT_ONCE = 1000
_OPENING_MAX_S = 0.25
_REVOKE_SHARE = 0.5
"""Of the session timeout: what a revocation may take before the group goes on without us."""

log = structlog.get_logger(__name__)


class GroupMember:
    """See the module docstring. It is its own `RebalanceListener`."""

    def __init__(
        self,
        group: str,
        agents: Mapping[str, Agent],
        *,
        broker: Broker,
        opener: Opener,
        handover: Handover,
        clock: Clock,
        settings: Settings,
        metrics: Metrics,
        instance_id: str,
    ) -> None:
        self.group = group
        self.partitions: dict[TopicPartition, AssignedPartition] = {}
        self.assigned_once = False
        self.topics: dict[str, int] = {}
        """partitions of each source topic, as of the start"""
        self._agents = agents
        self._broker = broker
        self._opener = opener
        self._handover = handover
        self._clock = clock
        self._settings = settings
        self._metrics = metrics
        self._instance_id = instance_id
        self._records_at_once = _records_at_once(agents, settings)
        self._consumer = self._new_consumer()
        self._refusals = 0
        self._stopping = False
        self._ticked_at = float("-inf")

    # --- life --------------------------------------------------------------------------------

    async def start(self) -> None:
        """Check the sources and join; retried while the broker is away or a topic is missing.

        Raises `SourceNotLogAppendTime`.
        """
        while not self._stopping:
            try:
                await self._check_sources()
                await self._consumer.start(self)
            except (BrokerUnavailable, UnknownTopic) as error:
                log.warning("group_waits", group=self.group, code=error.code, why=str(error))
                await self._clock.sleep(_RETRY_S)
            else:
                return

    async def run(self) -> None:
        """Fetch and fold until `drain`. Raises `WorkerStopped` kinds."""
        while not self._stopping:
            folded_s = await self._fetch()
            self._tick()
            await self._give_way(folded_s)

    async def _give_way(self, folded_s: float | None) -> None:
        """A full buffer is fetched without waiting: commits and heartbeats have their turn here.

        A partition that opens asks the broker a dozen times, one after the other. Beside a
        backlog each answer would wait for a fold, so opening gets as much time as folding.
        """
        if folded_s is None:
            await asyncio.sleep(0)
            return
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        if any(partition.opening for partition in self.partitions.values()):
            await self._clock.sleep(min(folded_s, _OPENING_MAX_S))

    async def drain(self, deadline: Deadline) -> None:
        """Stop fetching, commit what is folded, leave; all within the deadline."""
        self._stopping = True
        partitions = list(self.partitions.values())
        drained = asyncio.gather(*(p.drain() for p in partitions), return_exceptions=True)
        try:
            for error in await deadline.wait(drained):
                if error is not None:
                    log.warning("drain_failed", group=self.group, why=str(error))
            await deadline.wait(self._flushed())
        except DeadlinePassed:
            log.warning("drain_unfinished", group=self.group)
        await self.close()

    async def close(self) -> None:
        """Leave at once; uncommitted work is folded again by the next owner."""
        self._stopping = True
        await self._give_up()

    async def _give_up(self) -> None:
        """Hand back every partition and leave the group."""
        await asyncio.gather(*(p.close() for p in self.partitions.values()))
        self.partitions = {}
        await self._consumer.stop()

    async def _flushed(self) -> None:
        """Rows already handed over may as well arrive: the next owner repeats fewer."""
        while not self._handover.delivery.idle:
            await self._clock.sleep(0.05)

    async def _check_sources(self) -> None:
        async with opened(self._broker.admin()) as admin:
            topics = await admin.describe_topics()
        self.topics = {name: topics[name].partitions for name in self._agents if name in topics}
        for agent in self._agents.values():
            source = agent.source
            results = [agent.results.name] if isinstance(agent, JobAgent) else []
            for name in (source.name, source.dlq, source.changelog(agent.group), *results):
                if name not in topics:
                    raise UnknownTopic(f"topic {name} does not exist. Run `dia topics apply`.")
                if topics[name].partitions < topics[source.name].partitions:
                    raise UnknownTopic(
                        f"topic {name} has fewer partitions than {source.name}, whose keys it "
                        f"shares. Run `dia topics apply`."
                    )
            if topics[source.name].config.get("message.timestamp.type") != "LogAppendTime":
                raise SourceNotLogAppendTime(
                    f"topic {source.name} does not use message.timestamp.type=LogAppendTime, in "
                    f"which ages and TTLs are counted. Run `dia topics plan` to see the change."
                )

    # --- records -----------------------------------------------------------------------------

    async def _fetch(self) -> float | None:
        """One fetch, folded; returns the seconds that folding took, None when nothing came."""
        settings = self._settings
        try:
            batches = await self._consumer.getmany(settings.fetch_timeout_s, self._records_at_once)
        except OffsetOutOfRange as error:
            if (partition := self.partitions.get(error.tp)) is not None:
                partition.lost_position()
            return None
        except BatchUnreadable as error:
            if (partition := self.partitions.get(TopicPartition(*error.tp))) is not None:
                partition.unreadable(error)
            return None
        except TransientError as error:
            await self._refused(error)
            return None
        self._refusals = 0
        began_s = self._clock.monotonic()
        for tp, batch in batches.items():
            partition = self.partitions.get(tp)
            if partition is not None and partition.taking:
                partition.fold(batch)
        return self._clock.monotonic() - began_s if batches else None

    async def _refused(self, error: TransientError) -> None:
        """Try again; with another consumer after `_REFUSALS_MAX` refusals in a row."""
        log.warning("fetch_failed", group=self.group, code=error.code, why=str(error))
        await self._clock.sleep(_RETRY_S)
        self._refusals += 1
        if self._refusals < _REFUSALS_MAX or self._stopping:
            return
        self._refusals = 0
        await self._give_up()
        self.assigned_once = False
        self._consumer = self._new_consumer()
        await self.start()

    def _new_consumer(self) -> GroupConsumer:
        topics = sorted(self._agents)
        return self._broker.consumer(self.group, topics, member_id(self._instance_id, topics))

    def _tick(self) -> None:
        now_s = self._clock.monotonic()
        if now_s - self._ticked_at < _TICK_S:
            return
        self._ticked_at = now_s
        for partition in self.partitions.values():
            partition.tick()
        paused = sum(partition.paused for partition in self.partitions.values())
        self._metrics.partition.paused.labels(self.group).set(paused)

    # --- assignment --------------------------------------------------------------------------

    async def on_revoked(self, partitions: frozenset[TopicPartition]) -> None:
        deadline = Deadline(self._clock, _REVOKE_SHARE * self._settings.session_timeout_s)
        held = [self.partitions[tp] for tp in sorted(partitions) if tp in self.partitions]
        await asyncio.gather(*(partition.suspend(deadline) for partition in held))

    async def on_assigned(self, partitions: frozenset[TopicPartition]) -> None:
        self._metrics.partition.rebalances.inc()
        self.assigned_once = True
        gone = [tp for tp, held in self.partitions.items() if tp not in partitions or not held.open]
        await asyncio.gather(*(self.partitions.pop(tp).close() for tp in gone))
        for tp in sorted(partitions):
            if tp not in self.partitions:
                self.partitions[tp] = self._new(tp)
                self.partitions[tp].start()
            self.partitions[tp].keep()
        log.info("assigned", group=self.group, partitions=[str(tp) for tp in sorted(partitions)])

    def _new(self, tp: TopicPartition) -> AssignedPartition:
        return AssignedPartition(
            tp,
            self._agents[tp.topic],
            opener=self._opener,
            handover=self._handover,
            consumer=self._consumer,
            clock=self._clock,
            settings=self._settings,
            metrics=self._metrics,
        )

    # --- what it says of itself --------------------------------------------------------------

    def counts(self) -> PartitionCounts | None:
        """Partitions by what they do; None before the first assignment."""
        if not self.assigned_once:
            return None
        phases = [partition.phase for partition in self.partitions.values()]
        ready, stopped = phases.count("ready"), phases.count("stopped")
        return PartitionCounts(ready, len(phases) - ready - stopped, stopped)

    @property
    def settled(self) -> bool:
        """Every partition is settled, and there is an assignment."""
        return self.assigned_once and all(p.settled for p in self.partitions.values())

    @property
    def fetched_at(self) -> float | None:
        """When a fetch was last answered, in the clock's monotonic seconds; None: not yet."""
        seen = [self._consumer.watermarks(tp) for tp in self.partitions]
        return max((marks.answered_at for marks in seen if marks is not None), default=None)


def _records_at_once(agents: Mapping[str, Agent], settings: Settings) -> int:
    """Records of one fetch. Job partitions take them all while they are not paused, for what they
    left would be fetched and decoded again; and few enough that one fold delays no other work."""
    if any(isinstance(agent, JobAgent) for agent in agents.values()):
        room = max(1, int(settings.max_ahead * (1 - PAUSE_AT)))
        return min(settings.fetch_max_records, _REQUESTS_AT_ONCE, room)
    return settings.fetch_max_records
