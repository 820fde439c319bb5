"""S1: the election, and the term of the elected process."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from streams.core.clock import Clock
from streams.core.errors import DiaError, ProducerFenced
from streams.core.telemetry.metrics import Metrics
from streams.core.topics.topology import Topology
from streams.core.types import Broker, GroupConsumer, TopicPartition
from streams.engine.schedule.job import ScheduledJob
from streams.engine.schedule.journal import schedule_of
from streams.engine.schedule.term import Beside, Term, abandoned

SESSION_S = 20.0
"""session timeout of a candidate: then another is elected"""
_POLL_S = 0.5
_RETRY_S = 5.0

log = structlog.get_logger(__name__)


class Candidate:
    """A process that may lead. It is its own `RebalanceListener`."""

    def __init__(
        self,
        name: str,
        jobs: Sequence[ScheduledJob],
        topology: Topology,
        *,
        broker: Broker,
        clock: Clock,
        metrics: Metrics,
        beside: Beside | None = None,
        leaves: bool = False,
    ) -> None:
        """``name``: unique to the process, stable over restarts. ``beside`` runs while this process
        leads. ``leaves``: the process does not return, so others need not wait for its session."""
        self._leaves = leaves
        self._beside = beside
        self._name = name
        self._jobs = jobs
        self._topology = topology
        self._schedule = schedule_of(topology)
        self._broker = broker
        self._clock = clock
        self._metrics = metrics
        self._chosen = False
        self._not_before_s = float("-inf")
        self._term: asyncio.Task[None] | None = None
        metrics.schedule.leader.set(0)

    async def run(self) -> None:
        """Lead when elected, until cancelled. Errors are logged and retried: they must not end the
        worker."""
        while True:
            group, topic = self._topology.leader_group, self._schedule.topic
            consumer = self._broker.consumer(group, [topic], self._name)
            self._consumer = consumer
            try:
                await consumer.start(self)
                await self._stand(consumer)
            except DiaError as error:
                log.warning("election_waits", code=error.code, why=str(error))
            finally:
                await self._step_down()
                await consumer.stop(leave=self._leaves)
            await self._clock.sleep(_RETRY_S)

    async def on_revoked(self, partitions: frozenset[TopicPartition]) -> None:
        self._chosen = False
        await self._step_down()

    async def on_assigned(self, partitions: frozenset[TopicPartition]) -> None:
        self._chosen = self._schedule in partitions
        self._not_before_s = float("-inf")
        for tp in partitions:
            self._consumer.pause(tp)
            self._consumer.seek(tp, 0)

    async def _stand(self, consumer: GroupConsumer) -> None:
        while True:
            await consumer.getmany(_POLL_S, 1)
            if self._term is not None and self._term.done():
                self._judge(self._term)
                self._term = None
            ready = self._chosen and self._clock.monotonic() >= self._not_before_s
            if ready and self._term is None:
                term = Term(
                    self._name,
                    self._jobs,
                    self._topology,
                    self._broker,
                    self._clock,
                    self._metrics,
                    self._beside,
                )
                self._term = asyncio.create_task(term.serve(), name="term")

    def _judge(self, term: asyncio.Task[None]) -> None:
        """Log the end of a term. A fenced leader may have slept through an election: it waits for
        the group to rebalance, or two processes would fence each other for ever."""
        if term.cancelled():
            return
        error = term.exception()
        if not isinstance(error, DiaError):
            assert error is not None, "a term does not end by itself"
            raise error
        wait_s = SESSION_S if isinstance(error, ProducerFenced) else _RETRY_S
        self._not_before_s = self._clock.monotonic() + wait_s
        log.warning("term_ended", leader=self._name, code=error.code, why=str(error))

    async def _step_down(self) -> None:
        term, self._term = self._term, None
        if term is not None:
            await abandoned(term)
