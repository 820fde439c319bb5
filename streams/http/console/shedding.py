"""Shed orders over HTTP: plan, order, list, withdraw."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from streams.connect.access.tokens import Role
from streams.core.clock import Clock
from streams.core.errors import RefusedBySafety, UsageError
from streams.core.resilience.deadline import Deadline, DeadlinePassed
from streams.core.types import Broker
from streams.core.words.moments import moment_s
from streams.engine.agents.job_agent import Agent
from streams.engine.runtime.offsets.shed_order import check_words
from streams.http.console import parameters, reply
from streams.http.console.access.authorizer import Authorizer, Principal
from streams.http.console.access.operations import Operations
from streams.operate.shed.shed_admin import (
    ShedPlan,
    ShedStatus,
    chosen,
    give_orders,
    partitions_of,
    plan,
    plan_unreadable,
    reader_of,
    sheddable,
    sheddables,
    standings,
    withdraw,
)
from streams.operate.shed.shed_consequences import consequences

UNREADABLE_S: Final = 20.0
"""Longest scan of a topic's unread part for unreadable records."""


class _Asked(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Either ``before``: shed records appended before this moment, or ``unreadable``: those that no
    worker can decode."""

    topic: str
    before: str | None = None
    unreadable: bool = False
    partition: list[int] = []


class _Ordered(_Asked, kw_only=True, forbid_unknown_fields=True):
    reason: str


class _Withdrawn(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    topic: str


@dataclass(eq=False)
class SheddingHandler:
    """/api/shed. A partition holds records of every tenant, so a bound token is refused."""

    _gate: Authorizer
    _broker: Broker
    _agents: Sequence[Agent]
    _operations: Operations
    _clock: Clock

    async def plan(self, request: Request) -> Response:
        """POST: the records that an order would skip. Changes nothing."""
        self._holder(request)
        asked = await parameters.body(request, _Asked)
        before_s = self._before_s(asked)
        agent = self._agent(asked)
        plans = await self._plans(agent, asked, before_s)
        return reply.json(
            request,
            {
                "topic": asked.topic,
                "before_ms": None if before_s is None else before_s * 1000,
                "shed": sum(one.shed for one in plans),
                "partitions": [_planned(one) for one in plans],
                "consequences": consequences(agent, plans),
            },
        )

    async def order(self, request: Request) -> Response:
        """POST: give the order. Raises `RefusedBySafety` when no such record waits."""
        holder = self._holder(request)
        asked = await parameters.body(request, _Ordered)
        check_words(holder.actor, asked.reason)
        before_s = self._before_s(asked)
        plans = await self._plans(self._agent(asked), asked, before_s)
        plans = [one for one in plans if one.shed]
        if not plans:
            what = (
                "no record that old is waiting" if before_s else "every waiting record is readable"
            )
            raise RefusedBySafety(f"{what}; nothing was ordered")
        order_id = f"{self._clock.now_ms():x}-{secrets.token_hex(2)}"
        ranges = {str(one.tp.partition): [one.first, one.until] for one in plans}
        subject = {
            "topic": asked.topic,
            "order": order_id,
            "offsets": ranges,
            "reason": asked.reason,
        }
        async with self._operations.noted(holder, "shed_order", subject, begins=False):
            await give_orders(
                *(self._broker, self._clock, plans), order_id, holder.actor, asked.reason
            )
        told = {"order": order_id, "partitions": [_planned(one) for one in plans]}
        return reply.json(request, told, 202)

    async def listed(self, request: Request) -> Response:
        """GET: the last order of each partition, the topics that can be shed by age, and all
        consumed topics."""
        self._holder(request)
        found = [one for agent in self._agents for one in await self._standings(agent)]
        listed = {
            "topics": [agent.source.name for agent in sheddables(self._agents)],
            "sources": [agent.source.name for agent in self._agents],
            "orders": [_standing(one) for one in found],
        }
        return reply.json(request, listed)

    async def withdraw(self, request: Request) -> Response:
        """POST: withdraw orders that no worker has carried out. Raises `RefusedBySafety` when there
        is none."""
        holder = self._holder(request)
        asked = await parameters.body(request, _Withdrawn)
        agent = reader_of(self._agents, asked.topic)
        waiting = [one for one in await self._standings(agent) if one.state == "waiting"]
        if not waiting:
            raise RefusedBySafety("no order of that topic is waiting; nothing was withdrawn")
        subject = {"topic": asked.topic, "partitions": [one.tp.partition for one in waiting]}
        async with self._operations.noted(holder, "shed_withdraw", subject, begins=False):
            await withdraw(self._broker, self._clock, waiting, holder.actor)
        return reply.json(request, {**subject, "withdrawn": len(waiting)})

    def _holder(self, request: Request) -> Principal:
        holder = self._gate.holder(request, Role.ADMIN)
        holder.require_everyone()
        return holder

    def _agent(self, asked: _Asked) -> Agent:
        """Raises `UsageError` when no agent reads the topic, or it cannot be shed by age."""
        choose = reader_of if asked.unreadable else sheddable
        return choose(self._agents, asked.topic)

    def _before_s(self, asked: _Asked) -> int | None:
        """None for unreadable records. Raises `UsageError` unless exactly one is given."""
        if (asked.before is None) != asked.unreadable:
            raise UsageError('say what to skip: either "before", or "unreadable".')
        if asked.before is None:
            return None
        found = moment_s(asked.before, "before", self._clock.now_ms() / 1000)
        return min(max(found, 0), parameters.TIME_MAX_S)

    async def _plans(self, agent: Agent, asked: _Asked, before_s: int | None) -> list[ShedPlan]:
        every = await partitions_of(self._broker, agent.source.name)
        partitions = chosen(every, asked.partition)
        if before_s is not None:
            return await plan(self._broker, agent.group, partitions, before_s * 1000)
        found = plan_unreadable(self._broker, self._clock, agent.group, partitions)
        try:
            return await Deadline(self._clock, UNREADABLE_S).wait(found)
        except DeadlinePassed as error:
            raise RefusedBySafety(
                f"what waits in {asked.topic} was not read within {UNREADABLE_S:g} s. `dia shed plan "
                f"--topic {asked.topic} --unreadable` has no time limit."
            ) from error

    async def _standings(self, agent: Agent) -> list[ShedStatus]:
        every = await partitions_of(self._broker, agent.source.name)
        return await standings(self._broker, agent.group, every)


def _planned(one: ShedPlan) -> dict[str, Any]:
    return {
        "partition": one.tp.partition,
        "lag": one.lag,
        "oldest_ms": one.oldest_ms,
        "from_offset": one.first,
        "to_offset": one.until,
        "shed": one.shed,
        "unreadable": one.unreadable,
    }


def _standing(one: ShedStatus) -> dict[str, Any]:
    order = one.order
    return {
        "order": order.id,
        "topic": one.tp.topic,
        "partition": one.tp.partition,
        "state": one.state,
        "to_offset": order.until,
        "reached": one.committed.offset if one.committed is not None else None,
        "before_ms": order.before_ms,
        "at_ms": order.at_ms,
        "actor": order.actor,
        "reason": order.reason,
    }
