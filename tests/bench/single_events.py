"""How fast one core processes events one at a time: `python tests/bench/single_events.py [EVENTS]`.

A partition in memory: decoding, the agent's coroutine, its tables and a commit every 50,000 events;
no broker, no disk. Sent records are encoded and dropped. Prints microseconds of processor time per
event.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
import structlog

from streams.connect.broker.memory.broker import MemoryBroker
from streams.connect.sinks.memory import MemoryShards
from streams.core.clock import VirtualClock, settle
from streams.core.process.process_memory import settle as settle_memory
from streams.core.settings import Settings
from streams.core.telemetry.metrics import Metrics
from streams.core.types import (
    OutboundRecord,
    RecordBatch,
    TopicPartition,
    TransactionalProducer,
)
from streams.engine.app.app import App
from streams.engine.runtime.assignment import Opener
from streams.engine.runtime.commit.commit import commit
from streams.engine.state.memory import MemoryDisk
from streams.operate.topics.topics import wanted_topics

FETCH, FETCHES_A_COMMIT, KEYS = 10_000, 5, 1000
RUNS = 3
"""of each kind: the least counts, which other load disturbs least"""
KINDS = (
    "no_work",
    "one_update",
    "a_text_that_grows",
    "a_list_that_changes",
    "two_updates_and_a_send",
)


class Order(msgspec.Struct):
    account: str
    tenant_id: str
    amount: float


class Dropping:
    """A transactional producer that sends the changelog only: the broker in memory is no part of the
    engine."""

    def __init__(self, producer: TransactionalProducer) -> None:
        self._producer = producer

    async def send_many(self, records: Sequence[OutboundRecord]) -> Awaitable[None]:
        sent = asyncio.get_running_loop().create_future()
        sent.set_result(None)
        return sent

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)


def _app(kind: str) -> App:  # noqa: C901 - a body for each kind
    app = App("bench")
    orders = app.topic("orders", value_type=Order, key_field="account", partitions=1)
    sent = app.topic("sent", partitions=1)
    amounts = app.Table("amounts", default=float)
    counts = app.Table("counts", default=int)
    notes = app.Table("notes", default=str)
    lists = app.Table("lists", default=list)

    async def no_work(stream: Any) -> None:
        async for _ in stream:
            pass

    async def one_update(stream: Any) -> None:
        async for order in stream:
            amounts[order.account] += order.amount

    async def a_text_that_grows(stream: Any) -> None:
        async for order in stream:
            notes[order.account] += "x"

    async def a_list_that_changes(stream: Any) -> None:
        async for order in stream:
            recent = lists[order.account]
            recent.append(order.amount)
            del recent[:-10]

    async def two_updates_and_a_send(stream: Any) -> None:
        async for order in stream:
            amounts[order.account] += order.amount
            counts[order.account] += 1
            await sent.send(key=order.account, value=counts[order.account])

    bodies: dict[str, Callable[[Any], Any]] = {
        "no_work": no_work,
        "one_update": one_update,
        "a_text_that_grows": a_text_that_grows,
        "a_list_that_changes": a_list_that_changes,
        "two_updates_and_a_send": two_updates_and_a_send,
    }
    app.agent(orders, name="agent", tables=(amounts, counts, notes, lists))(bodies[kind])
    return app


async def _measure(kind: str, events: int) -> float:
    app, clock, settings = _app(kind), VirtualClock(), Settings()
    broker, shards = MemoryBroker(clock), MemoryShards(1, clock)
    admin = await broker.admin()
    await admin.create_topics(wanted_topics(app.topology))
    tp, metrics, now_ms = TopicPartition("orders", 0), Metrics(), clock.now_ms()
    opener = Opener(
        broker=broker, stores=MemoryDisk(), clock=clock, settings=settings, shards=shards
    )
    opened = await opener.open(app.agents["agent"], tp, lambda: None)
    partition: Any = opened.partition
    producer: Any = Dropping(opened.producer)
    keys = [f"account-{number % KEYS}".encode() for number in range(FETCH)]
    values = [
        json.dumps({"account": key.decode(), "tenant_id": "t", "amount": 1.0}).encode()
        for key in keys
    ]
    began_s = time.process_time()
    for number, start in enumerate(range(0, events, FETCH), 1):
        offsets = [*range(start, start + FETCH)]
        times, headers = [now_ms] * FETCH, [()] * FETCH
        partition.fold(RecordBatch(tp, start, start + FETCH, offsets, times, keys, values, headers))
        while partition.folded + partition.state.link.next_offset < start + FETCH:
            await settle()
        if number % FETCHES_A_COMMIT == 0:
            prepared = partition.prepare([0])
            await commit(partition, prepared, producer, clock, metrics, 60.0)
    took_s = time.process_time() - began_s
    partition.abandon()
    await settle()
    return took_s / events * 1e6


def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    events = int(sys.argv[1]) if len(sys.argv) > 1 else 500_000
    settle_memory()
    for kind in KINDS:
        least_us = min(asyncio.run(_measure(kind, events // FETCH * FETCH)) for _ in range(RUNS))
        sys.stdout.write(f"{kind}: {least_us:.2f} us\n")


if __name__ == "__main__":
    main()
