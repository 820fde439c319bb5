"""One member of a consumer group: fetches, folds and follows the assignment.

The loop does not wait for commits: each partition commits in its own task. It makes one fetch call
at a time, of at most ``fetch_max_records``; runtime/partition/pressure.py pauses partitions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Mapping

import structlog

from streams.connect.broker.opened import opened
from streams.core.clock import Clock
from streams.core.errors import (
    BatchUnreadable,
    BrokerUnavailable,
    PartitionStuck,
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
from streams.engine.runtime.assignment import Opener, partners
from streams.engine.runtime.commit.handover import Handover
from streams.engine.runtime.identity import member_id
from streams.engine.runtime.partition.pressure import PAUSE_AT

_TICK_S = 0.25
_RETRY_S = 2.0
_REFUSALS_MAX = 5
"""failed fetches in a row before the consumer is replaced: aiokafka's coordination does not recover
from an error that it takes for permanent"""
_TURNS = 4
"""turns of the event loop between two folds: a broker's answer takes three to reach its task"""
_REQUESTS_AT_ONCE = 1000
_OPENING_MAX_S = 0.25
_REVOKE_SHARE = 0.5
"""share of the session timeout that a revocation may take"""

log = structlog.get_logger(__name__)


class GroupMember:
    """Also its own `RebalanceListener`."""

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
        """partitions of each source topic"""
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
        self._stuck: PartitionStuck | None = None
        self._stopping = False
        self._ticked_at = float("-inf")

    # --- life --------------------------------------------------------------------------------

    async def start(self) -> None:
        """Check the sources and join; retry while the broker is away or a topic is missing.

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
        """Fetch and fold until `drain`. Raises `WorkerStopped` errors."""
        while not self._stopping:
            folded_s = await self._fetch()
            self._tick()
            await self._give_way(folded_s)

    async def _give_way(self, folded_s: float | None) -> None:
        """Yield to commits and heartbeats: a full buffer is fetched without waiting.

        Opening a partition makes a dozen broker calls in sequence, each of which waits for a fold
        during a backlog: opening gets as much time as folding.
        """
        if folded_s is None:
            await asyncio.sleep(0)
            return
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        if any(partition.opening for partition in self.partitions.values()):
            await self._clock.sleep(min(folded_s, _OPENING_MAX_S))

    async def drain(self, deadline: Deadline) -> None:
        """Stop fetching, commit what is folded and leave, within the deadline."""
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
        await self._give_up(leave=bool(self._settings.leave_group))

    async def close(self) -> None:
        """Stop at once; the next owner folds uncommitted records again."""
        self._stopping = True
        await self._give_up()

    async def _give_up(self, *, leave: bool = False) -> None:
        await self._all(p.close() for p in self.partitions.values())
        self.partitions = {}
        await self._consumer.stop(leave=leave)

    async def _flushed(self) -> None:
        """Wait for rows already handed over, so that the next owner repeats fewer."""
        while not self._handover.delivery.idle:
            await self._clock.sleep(0.05)

    async def _check_sources(self) -> None:
        async with opened(self._broker.admin()) as admin:
            topics = await admin.describe_topics()
        self.topics = {name: topics[name].partitions for name in self._agents if name in topics}
        for agent in self._agents.values():
            source, companions = agent.source, partners(agent)
            for name in (source.name, *companions):
                if name not in topics:
                    raise UnknownTopic(f"topic {name} does not exist. Run `dia topics apply`.")
            self._opener.whole[source.name] = min(topics[name].partitions for name in companions)
            if topics[source.name].config.get("message.timestamp.type") != "LogAppendTime":
                raise SourceNotLogAppendTime(
                    f"topic {source.name} does not use message.timestamp.type=LogAppendTime, but "
                    "ages and TTLs are counted in append time. Run `dia topics plan` to see the "
                    "change."
                )

    # --- records -----------------------------------------------------------------------------

    async def _fetch(self) -> float | None:
        """Fetch once and fold; the seconds spent on folding, None if no record came."""
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
        """Retry; after `_REFUSALS_MAX` failures in a row with a new consumer."""
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
        # Not at an assignment alone: the member that learns of a larger topic last has no other one.
        for name, known in self.topics.items():
            self.topics[name] = max(known, self._consumer.partitions(name))
        if self._stuck is not None:
            raise self._stuck
        for partition in self.partitions.values():
            partition.tick()
        paused = sum(partition.paused for partition in self.partitions.values())
        self._metrics.partition.paused.labels(self.group).set(paused)
        waits = self._metrics.partition.waits
        for tp, partition in self.partitions.items():
            waits.labels(tp.topic, tp.partition).set(bool(partition.waits_for))

    # --- assignment --------------------------------------------------------------------------

    async def on_revoked(self, partitions: frozenset[TopicPartition]) -> None:
        deadline = Deadline(self._clock, _REVOKE_SHARE * self._settings.session_timeout_s)
        held = [self.partitions[tp] for tp in sorted(partitions) if tp in self.partitions]
        await self._all(partition.suspend(deadline) for partition in held)

    async def on_assigned(self, partitions: frozenset[TopicPartition]) -> None:
        self._metrics.partition.rebalances.inc()
        self.assigned_once = True
        gone = [tp for tp, held in self.partitions.items() if tp not in partitions or not held.open]
        await self._all(self.partitions.pop(tp).close() for tp in gone)
        for tp in sorted(partitions):
            if tp not in self.partitions:
                self.partitions[tp] = self._new(tp)
                self.partitions[tp].start()
            self.partitions[tp].keep()
        log.info("assigned", group=self.group, partitions=[str(tp) for tp in sorted(partitions)])

    async def _all(self, ends: Iterable[Awaitable[None]]) -> None:
        """Await all of them. A `PartitionStuck` ends the worker at its next tick."""
        for result in await asyncio.gather(*ends, return_exceptions=True):
            if isinstance(result, PartitionStuck):
                log.error("partition_stuck", group=self.group, why=str(result))
                self._stuck = result
            elif result is not None:
                raise result

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
        """Number of partitions by phase; None before the first assignment."""
        if not self.assigned_once:
            return None
        phases = [partition.phase for partition in self.partitions.values()]
        ready, stopped = phases.count("ready"), phases.count("stopped")
        return PartitionCounts(ready, len(phases) - ready - stopped, stopped)

    @property
    def settled(self) -> bool:
        return self.assigned_once and all(p.settled for p in self.partitions.values())

    @property
    def fetched_at(self) -> float | None:
        """Monotonic seconds of the last answered fetch; None before it."""
        seen = [self._consumer.watermarks(tp) for tp in self.partitions]
        return max((marks.answered_at for marks in seen if marks is not None), default=None)


def _records_at_once(agents: Mapping[str, Agent], settings: Settings) -> int:
    """Records of one fetch. With job agents it is at most what an unpaused partition takes in (the
    rest would be fetched again), and small enough that one fold does not delay other work."""
    if any(isinstance(agent, JobAgent) for agent in agents.values()):
        room = max(1, int(settings.max_ahead * (1 - PAUSE_AT)))
        return min(settings.fetch_max_records, _REQUESTS_AT_ONCE, room)
    return settings.fetch_max_records
