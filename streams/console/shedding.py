"""Old records given up over HTTP: what an order would skip, giving it, what became of it."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from streams.access.tokens import Role
from streams.agent import AgentSpec
from streams.clock import Clock
from streams.console import parameters, reply
from streams.console.gate import Gate, Holder
from streams.console.operations import Operations
from streams.errors import RefusedBySafety
from streams.job_agent import Agent
from streams.moments import moment_s
from streams.runtime.shed_consequences import consequences
from streams.runtime.shed_desk import (
    ShedPlan,
    Standing,
    chosen,
    give_orders,
    partitions_of,
    plan,
    sheddable,
    sheddables,
    standings,
    withdraw,
)
from streams.runtime.shed_order import check_words
from streams.types import Broker


class _Asked(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """``before``: records appended before this moment are too old."""

    topic: str
    before: str
    partition: list[int] = []


class _Ordered(_Asked, kw_only=True, forbid_unknown_fields=True):
    reason: str


class _Withdrawn(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    topic: str


class SheddingDesk:
    """/api/shed. A partition holds records of every tenant, so a bound token may do nothing here."""

    def __init__(
        self,
        gate: Gate,
        broker: Broker,
        agents: Sequence[Agent],
        operations: Operations,
        clock: Clock,
    ) -> None:
        self._gate = gate
        self._broker = broker
        self._agents = agents
        self._operations = operations
        self._clock = clock

    async def plan(self, request: Request) -> Response:
        """POST: what an order would skip. Nothing is changed."""
        self._holder(request)
        asked = await parameters.body(request, _Asked)
        agent, before_s = sheddable(self._agents, asked.topic), self._before_s(asked)
        plans = await self._plans(agent, asked, before_s)
        return reply.json(
            request,
            {
                "topic": asked.topic,
                "before_ms": before_s * 1000,
                "shed": sum(one.shed for one in plans),
                "partitions": [_planned(one) for one in plans],
                "consequences": consequences(agent, plans),
            },
        )

    async def order(self, request: Request) -> Response:
        """POST: the order itself. Raises `RefusedBySafety` where nothing that old is waiting."""
        holder = self._holder(request)
        asked = await parameters.body(request, _Ordered)
        check_words(holder.actor, asked.reason)
        agent, before_s = sheddable(self._agents, asked.topic), self._before_s(asked)
        plans = [one for one in await self._plans(agent, asked, before_s) if one.shed]
        if not plans:
            raise RefusedBySafety("nothing that old is waiting; nothing was ordered")
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
        """GET: the last order of each partition, and the topics that can be shed."""
        self._holder(request)
        agents = sheddables(self._agents)
        found = [one for agent in agents for one in await self._standings(agent)]
        topics = [agent.source.name for agent in agents]
        return reply.json(request, {"topics": topics, "orders": [_standing(one) for one in found]})

    async def withdraw(self, request: Request) -> Response:
        """POST: take back what no worker has carried out. Raises `RefusedBySafety` for nothing."""
        holder = self._holder(request)
        asked = await parameters.body(request, _Withdrawn)
        agent = sheddable(self._agents, asked.topic)
        waiting = [one for one in await self._standings(agent) if one.state == "waiting"]
        if not waiting:
            raise RefusedBySafety("no order of that topic is waiting; nothing was taken back")
        subject = {"topic": asked.topic, "partitions": [one.tp.partition for one in waiting]}
        async with self._operations.noted(holder, "shed_withdraw", subject, begins=False):
            await withdraw(self._broker, self._clock, waiting, holder.actor)
        return reply.json(request, {**subject, "withdrawn": len(waiting)})

    def _holder(self, request: Request) -> Holder:
        holder = self._gate.holder(request, Role.ADMIN)
        holder.require_everyone()
        return holder

    def _before_s(self, asked: _Asked) -> int:
        found = moment_s(asked.before, "before", self._clock.now_ms() / 1000)
        return min(max(found, 0), parameters.TIME_MAX_S)

    async def _plans(self, agent: AgentSpec, asked: _Asked, before_s: int) -> list[ShedPlan]:
        every = await partitions_of(self._broker, agent.source.name)
        partitions = chosen(every, asked.partition)
        return await plan(self._broker, agent.group, partitions, before_s * 1000)

    async def _standings(self, agent: AgentSpec) -> list[Standing]:
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
    }


def _standing(one: Standing) -> dict[str, Any]:
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
