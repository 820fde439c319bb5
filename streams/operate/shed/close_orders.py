"""Operator orders about held windows (docs/protocols/held_closes.md, H5)."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from streams.connect.broker.opened import opened
from streams.core.errors import CommitInDoubt, DiaError, PartitionRestart, UsageError
from streams.core.types import Broker, TopicPartition
from streams.engine.agents.job_agent import Agent
from streams.engine.agents.stream_agent import StreamAgent
from streams.engine.agents.window_agent import windows_of
from streams.engine.runtime.offsets.close_order import (
    CloseOrder,
    close_group,
    read_close_orders,
    write_close_orders,
)
from streams.engine.runtime.offsets.commit_mark import epoch_of


def check_table(agent: Agent, table: str) -> None:
    """Raises `UsageError` unless windows of ``table`` close by an `on_window_close` of the agent."""
    found = [one.name for one in windows_of(agent) if one.on_window_close is not None]
    if isinstance(agent, StreamAgent):
        found += [one.name for one in agent.owned if getattr(one, "on_close", None) is not None]
    if table not in found:
        known = f"those of {', '.join(sorted(found))} do" if found else "no table has one"
        raise UsageError(f"windows of {table[:80]} have no on_window_close: {known}.")


async def give_close_orders(
    broker: Broker, group: str, partitions: Sequence[TopicPartition], order: CloseOrder
) -> None:
    """One order for each partition, in its epoch and in place of its last one. Raises `BrokerUnavailable`,
    and `DiaError` when the outcome is unknown."""
    async with opened(broker.admin()) as admin:
        committed = await admin.committed(group, partitions)
    orders = {tp: replace(order, epoch=epoch_of(committed.get(tp))) for tp in partitions}
    producer = broker.transactional_producer(close_group(group))
    try:
        await producer.start()
        await write_close_orders(producer, group, orders)
    except PartitionRestart as error:
        what = "another order came between" if not isinstance(error, CommitInDoubt) else str(error)
        raise DiaError(
            f"whether the order stands is unknown: {what}. `dia tables windows list` tells; giving "
            "it again is harmless."
        ) from error
    finally:
        await producer.close()


async def close_orders(
    broker: Broker, group: str, partitions: Sequence[TopicPartition]
) -> dict[TopicPartition, CloseOrder]:
    """The last order of each partition. Raises `BrokerUnavailable`."""
    async with opened(broker.admin()) as admin:
        return await read_close_orders(admin, group, partitions)
