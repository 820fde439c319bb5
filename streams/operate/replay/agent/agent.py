"""The replay agent: a worker that runs submitted plans (`dia replay submit`).

A consumer group on the journals gives each DLQ partition one agent at a time; P2 fences one that
lost its partition. A new journal entry triggers a check for a submitted plan."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet

import msgspec
import structlog

from streams.core.clock import Clock
from streams.core.errors import (
    BatchUnreadable,
    CommandError,
    DiaError,
    PartitionStopped,
    TransientError,
)
from streams.core.rows.built_in_tables import ShardSet
from streams.core.settings import Settings
from streams.core.topics.topic import Topic
from streams.core.topics.topology import Topology
from streams.core.types import Broker, GroupConsumer, OffsetOutOfRange, TopicPartition
from streams.engine.runtime.identity import member_id
from streams.operate.replay.agent.automation import Answers, Automation
from streams.operate.replay.agent.policies import Dependency, ReplayPolicy
from streams.operate.replay.journal.journal import RunEnded
from streams.operate.replay.journal.owner import owned
from streams.operate.replay.journal.status import PlanStatus, read_standing
from streams.operate.replay.plan.plan import ReplayPlan, Selection
from streams.operate.replay.run.pace import ReplayPace
from streams.operate.replay.run.partition_run import PartitionRun, RunContext
from streams.operate.replay.run.run import check_plan

_RECORDS = 500
_PAUSE_S = 2.0

log = structlog.get_logger(__name__)


def agents_group(topology: Topology) -> str:
    return f"{topology.replay_group}-agents"


class ReplayAgent:
    """All methods run in the event loop's thread."""

    def __init__(
        self,
        broker: Broker,
        shards: ShardSet | None,
        clock: Clock,
        settings: Settings,
        instance_id: str,
        topology: Topology,
        policies: Sequence[ReplayPolicy] = (),
        answers: Mapping[Dependency, Answers] | None = None,
    ) -> None:
        """``answers``: a probe for each dependency that a policy names."""
        self._broker = broker
        self._shards = shards
        self._clock = clock
        self._settings = settings
        self._instance_id = instance_id
        self._topology = topology
        self._sources = {source.journal: source for source in topology.topics}
        self._automation = Automation(
            policies, topology.topics, self._means("policies", None), answers or {}
        )
        self._consumer: GroupConsumer | None = None
        self._due: set[TopicPartition] = set()
        self._runs: dict[TopicPartition, asyncio.Task[None]] = {}
        self._stopping = False

    async def run(self, joined: Callable[[], None]) -> None:
        """Serve until `stop`; calls ``joined`` after joining the group."""
        while not self._stopping:
            try:
                await self._serve(joined)
            except TransientError as error:
                log.warning("replay_agent_deferred", code=error.code, why=str(error))
                await self._clock.sleep(_PAUSE_S)

    def stop(self) -> None:
        """Stop soon: an open step is aborted, and its plan waits for the next agent."""
        self._stopping = True

    async def on_revoked(self, partitions: frozenset[TopicPartition]) -> None:
        await self._end(partitions)

    async def on_assigned(self, partitions: frozenset[TopicPartition]) -> None:
        assert self._consumer is not None
        for tp in partitions:
            self._consumer.seek(tp, 0)
        self._due |= partitions

    async def _serve(self, joined: Callable[[], None]) -> None:
        topics = list(self._sources)
        consumer = self._broker.consumer(
            agents_group(self._topology), topics, member_id(self._instance_id, topics)
        )
        self._consumer = consumer
        following = asyncio.create_task(
            self._automation.follow(lambda tp: tp in consumer.assignment()), name="replay-policies"
        )
        try:
            await consumer.start(self)
            joined()
            while not self._stopping:
                if following.done():
                    await following
                self._due |= await self._heard(consumer)
                await self._look(consumer.assignment())
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            await self._end(frozenset(self._runs))
            await consumer.stop()

    async def _heard(self, consumer: GroupConsumer) -> AbstractSet[TopicPartition]:
        """The journals with new entries, or that cannot be read: `_look` reports those."""
        try:
            return (await consumer.getmany(self._settings.fetch_timeout_s, _RECORDS)).keys()
        except (OffsetOutOfRange, BatchUnreadable) as error:
            return {TopicPartition(*error.tp)}

    async def _look(self, assigned: frozenset[TopicPartition]) -> None:
        for tp in [tp for tp, task in self._runs.items() if task.done()]:
            del self._runs[tp]
            self._due.add(tp)
        for tp in sorted((self._due & assigned) - self._runs.keys()):
            self._due.discard(tp)
            reader = await self._broker.reader()
            try:
                standing = await read_standing(reader, self._sources[tp.topic], tp.partition)
            except PartitionStopped as error:
                log.warning("replay_partition_stopped", tp=str(tp), code=error.code, why=str(error))
                continue
            finally:
                await reader.close()
            waiting = standing.active
            if waiting is not None and waiting.by_agent:
                name = f"replay-{tp}"
                self._runs[tp] = asyncio.create_task(self._replay(tp, waiting), name=name)

    async def _replay(self, tp: TopicPartition, waiting: PlanStatus) -> None:
        source = self._sources[tp.topic]
        assert waiting.head is not None, "part 0 of a plan has its head"
        selection = Selection(
            partition=tp.partition,
            end=waiting.end,
            replay=str(waiting.to_replay),
            park=str(waiting.to_park),
            mark=waiting.mark,
        )
        plan = msgspec.structs.replace(waiting.head, selections=(selection,))
        log.info("replay_started", tp=str(tp), plan=plan.id, letters=waiting.letters)
        try:
            await self._run_here(plan, selection, source, waiting)
        except CommandError as error:
            await self._refuse(tp, source, waiting, str(error))
        except DiaError as error:
            log.warning("replay_interrupted", tp=str(tp), plan=plan.id, why=str(error))
            await self._clock.sleep(_PAUSE_S)

    async def _run_here(
        self, plan: ReplayPlan, selection: Selection, source: Topic, waiting: PlanStatus
    ) -> None:
        _, partitions = await check_plan(self._broker, self._topology, plan)
        means = self._means(waiting.actor, waiting.rate)
        pace = ReplayPace(self._clock, means.rate)
        run = PartitionRun(means, plan, selection, source, partitions, pace, resume=False)
        standing, _ = await run.go()
        log.info("replay_ended", plan=plan.id, state=standing.state, replayed=standing.replayed)

    def _means(self, actor: str, rate: float | None) -> RunContext:
        return RunContext(
            broker=self._broker,
            shards=self._shards,
            clock=self._clock,
            settings=self._settings,
            topology=self._topology,
            actor=actor,
            run=f"{self._instance_id}-{secrets.token_hex(4)}",
            rate=rate,
        )

    async def _refuse(
        self, tp: TopicPartition, source: Topic, waiting: PlanStatus, reason: str
    ) -> None:
        """P1 refuses the plan: journal the reason and free the topic for another plan."""
        log.warning("replay_refused", tp=str(tp), plan=waiting.plan, why=reason)
        async with owned(self._broker, self._clock, self._topology, source, tp.partition) as owner:
            now = owner.standing.plans[waiting.plan]
            if now.active:
                ended = RunEnded(
                    at_ms=self._clock.now_ms(),
                    actor=waiting.actor,
                    plan=waiting.plan,
                    run=now.run,
                    outcome="stopped",
                    reason=reason,
                )
                await owner.commit([ended])

    async def _end(self, partitions: frozenset[TopicPartition]) -> None:
        tasks = [self._runs.pop(tp) for tp in partitions if tp in self._runs]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
