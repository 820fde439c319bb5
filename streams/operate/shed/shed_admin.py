"""Operator actions on shed orders: plan (X1), order (X2), status, withdraw."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import msgspec

from streams.connect.broker.append_times import appended_ms, first_since, last_record
from streams.connect.broker.log_range import behind, read_some
from streams.connect.broker.opened import opened
from streams.core.clock import Clock
from streams.core.errors import (
    BatchUnreadable,
    CommitInDoubt,
    DiaError,
    PartitionRestart,
    UnknownTopic,
    UsageError,
)
from streams.core.types import Broker, CommittedOffset, LogReader, TopicPartition
from streams.engine.agents.agent import AgentSpec
from streams.engine.agents.job_agent import Agent, JobAgent
from streams.engine.agents.stream_agent import StreamAgent
from streams.engine.runtime.offsets.commit_mark import epoch_of
from streams.engine.runtime.offsets.shed_order import (
    ShedOrder,
    orders_group,
    read_orders,
    write_orders,
)
from streams.engine.runtime.partition.obstacle import PRODUCERS_TIMES

OrderState = Literal["waiting", "done", "withdrawn", "void"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShedPlan:
    """Offsets [first, until) to skip. ``oldest_ms``: append time of the first unread record.
    ``last``: place and append time of the last record to skip.

    ``unreadable``: why they cannot be decoded; then ``first`` is the first such offset, and
    ``committed`` the group's. ``retention_ms``: -1 for unlimited, None when the topic does not set
    it."""

    group: str
    tp: TopicPartition
    epoch: int
    first: int
    until: int
    begin: int
    end: int
    oldest_ms: int | None
    last: tuple[int, int] | None
    before_ms: int
    unreadable: str = ""
    committed: int | None = None
    retention_ms: int | None = None

    @property
    def shed(self) -> int:
        """Transaction markers included."""
        return self.until - self.first

    @property
    def lag(self) -> int:
        return max(0, self.end - (self.first if self.committed is None else self.committed))

    @property
    def truncated(self) -> bool:
        """The log lost unread records: a case for `dia tables reset`."""
        return self.first < self.begin


@dataclass(frozen=True, slots=True, kw_only=True)
class ShedStatus:
    """The last order of a partition and the group's progress."""

    group: str
    tp: TopicPartition
    order: ShedOrder
    committed: CommittedOffset | None

    @property
    def state(self) -> OrderState:
        if self.order.withdrawn:
            return "withdrawn"
        if self.committed is not None and self.committed.offset >= self.order.until:
            return "done"
        return "waiting" if epoch_of(self.committed) == self.order.epoch else "void"


Sheddable = AgentSpec | StreamAgent


def sheddables(agents: Iterable[Agent]) -> list[Sheddable]:
    """All but job agents: each request needs an answer."""
    return [agent for agent in agents if not isinstance(agent, JobAgent)]


def sheddable(agents: Iterable[Agent], topic: str) -> Sheddable:
    """Raises `UsageError` when ``topic`` cannot be shed."""
    found = {agent.source.name: agent for agent in sheddables(agents)}
    if topic not in found:
        raise UsageError(
            f"nothing of {topic[:80]} can be shed: {', '.join(sorted(found))} can. Requests are "
            f"answered one by one; cancel those that are no longer needed."
        )
    return found[topic]


def reader_of(agents: Iterable[Agent], topic: str) -> Agent:
    """Raises `UsageError` when no agent reads ``topic``."""
    found = {agent.source.name: agent for agent in agents}
    if topic not in found:
        raise UsageError(f"no agent reads {topic[:80]}; they read {', '.join(sorted(found))}.")
    return found[topic]


def chosen(every: Sequence[TopicPartition], numbers: Sequence[int] | None) -> list[TopicPartition]:
    """Raises `UsageError` for a missing partition."""
    if not numbers:
        return list(every)
    missing = sorted(set(numbers) - {tp.partition for tp in every})
    if missing:
        raise UsageError(f"{every[0].topic} has {len(every)} partitions: there is no {missing[0]}.")
    return [tp for tp in every if tp.partition in numbers]


async def partitions_of(broker: Broker, topic: str) -> list[TopicPartition]:
    """Raises `BrokerUnavailable` and `UnknownTopic`."""
    async with opened(broker.admin()) as admin:
        topics = await admin.describe_topics()
    if topic not in topics:
        raise UnknownTopic(f"topic {topic} does not exist. Run `dia topics apply`.")
    return [TopicPartition(topic, number) for number in range(topics[topic].partitions)]


async def plan(
    broker: Broker, group: str, partitions: Sequence[TopicPartition], before_ms: int
) -> list[ShedPlan]:
    """X1. Records appended from ``before_ms`` on are kept. Raises `BrokerUnavailable` and
    `UnknownTopic`."""
    async with opened(broker.admin()) as admin:
        committed = await admin.committed(group, partitions)
        topics = await admin.describe_topics()
    kept = {name: topic.config.get("retention.ms") for name, topic in topics.items()}
    async with opened(broker.reader()) as reader:
        plans = [await _plan(reader, group, tp, committed.get(tp), before_ms) for tp in partitions]
    return [
        replace(one, retention_ms=int(said)) if (said := kept.get(one.tp.topic)) else one
        for one in plans
    ]


async def _plan(
    reader: LogReader,
    group: str,
    tp: TopicPartition,
    committed: CommittedOffset | None,
    before_ms: int,
) -> ShedPlan:
    begin, end = await reader.beginning_offset(tp), await reader.last_stable_offset(tp)
    first = committed.offset if committed is not None else begin
    until, oldest_ms, last = first, None, None
    if begin <= first < end:
        oldest_ms = await appended_ms(reader, tp, first, end)
        until = await first_since(reader, tp, first, end, before_ms)
        last = await last_record(reader, tp, first, until)
    return ShedPlan(
        group=group,
        tp=tp,
        epoch=epoch_of(committed),
        first=first,
        until=until,
        begin=begin,
        end=end,
        oldest_ms=oldest_ms,
        last=last,
        before_ms=before_ms,
    )


async def give_orders(
    broker: Broker, clock: Clock, plans: Iterable[ShedPlan], order_id: str, actor: str, reason: str
) -> dict[TopicPartition, ShedOrder]:
    """X2 for each of ``plans``, all of one group, with records to skip. Raises `BrokerUnavailable`,
    and `DiaError` when the outcome is unknown."""
    agreed = [found for found in plans if found.shed > 0]
    orders = {
        found.tp: ShedOrder(
            id=order_id,
            until=found.until,
            epoch=found.epoch,
            last_offset=found.last[0] if found.last is not None else -1,
            last_append_ms=found.last[1] if found.last is not None else 0,
            before_ms=found.before_ms,
            at_ms=clock.now_ms(),
            actor=actor,
            reason=reason,
            first=found.first if found.unreadable else None,
        )
        for found in agreed
    }
    if agreed:
        await _write(broker, agreed[0].group, orders)
    return orders


async def standings(
    broker: Broker, group: str, partitions: Sequence[TopicPartition]
) -> list[ShedStatus]:
    """Of every partition with an order. Raises `BrokerUnavailable`."""
    async with opened(broker.admin()) as admin:
        orders = await read_orders(admin, group, partitions)
        committed = await admin.committed(group, orders)
    return [
        ShedStatus(group=group, tp=tp, order=order, committed=committed.get(tp))
        for tp, order in sorted(orders.items())
    ]


async def withdraw(broker: Broker, clock: Clock, waiting: Sequence[ShedStatus], actor: str) -> None:
    """Withdraw waiting orders of one group; one in progress may still complete. Raises as
    `give_orders`."""
    orders = {
        standing.tp: msgspec.structs.replace(
            standing.order, at_ms=clock.now_ms(), actor=actor, withdrawn=True
        )
        for standing in waiting
    }
    if orders:
        await _write(broker, waiting[0].group, orders)


async def _write(broker: Broker, group: str, orders: dict[TopicPartition, ShedOrder]) -> None:
    """Uses a producer of its own: the partition's belongs to its owner."""
    producer = broker.transactional_producer(orders_group(group))
    try:
        await producer.start()
        await write_orders(producer, group, orders)
    except PartitionRestart as error:
        what = "another order came between" if not isinstance(error, CommitInDoubt) else str(error)
        raise DiaError(
            f"whether the order stands is unknown: {what}. `dia shed list` tells; giving it "
            f"again is harmless."
        ) from error
    finally:
        await producer.close()


async def plan_unreadable(
    broker: Broker, clock: Clock, group: str, partitions: Sequence[TopicPartition]
) -> list[ShedPlan]:
    """Plan the first undecodable offsets at or after the committed one; reads each log up to them,
    or to its end. Raises `BrokerUnavailable` and `UnknownTopic`."""
    async with opened(broker.admin()) as admin:
        committed = await admin.committed(group, partitions)
    now_ms = clock.now_ms()
    async with opened(broker.reader()) as reader:
        return [
            await _unreadable_of(reader, group, tp, committed.get(tp), now_ms) for tp in partitions
        ]


class _Page(NamedTuple):
    """Offsets of one read; ``why`` they cannot be decoded."""

    first: int
    until: int
    why: str


async def _unreadable_of(
    reader: LogReader,
    group: str,
    tp: TopicPartition,
    committed: CommittedOffset | None,
    now_ms: int,
) -> ShedPlan:
    begin, end = await reader.beginning_offset(tp), await reader.last_stable_offset(tp)
    at = start = committed.offset if committed is not None else begin
    bad = _Page(at, at, "")
    while begin <= at < end:
        page = await _page(reader, tp, at, end)
        if page.why and not bad.why:
            bad = page
        elif page.why and page.first == bad.until:
            bad = bad._replace(until=page.until)
        elif bad.why:
            break
        at = page.until
    if not bad.why:
        bad = _Page(start, start, "")
    return ShedPlan(
        group=group,
        tp=tp,
        epoch=epoch_of(committed),
        first=bad.first,
        until=bad.until,
        begin=begin,
        end=end,
        oldest_ms=None,
        last=None,
        before_ms=now_ms,
        unreadable=bad.why,
        committed=start,
    )


async def _page(reader: LogReader, tp: TopicPartition, at: int, end: int) -> _Page:
    try:
        batch = await read_some(reader, tp, at, end)
    except BatchUnreadable as error:
        return _Page(error.offset, behind(error, end), error.why)
    if len(batch) and not batch.append_times:
        return _Page(batch.offsets[0], batch.end, PRODUCERS_TIMES)
    return _Page(at, batch.end, "")
