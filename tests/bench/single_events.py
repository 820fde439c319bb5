"""How fast one core handles events one at a time: `python tests/bench/single_events.py [EVENTS]`.

A partition in memory: decoding, the agent's coroutine, its tables and the commits of every 50,000 events;
no broker, no disk. Prints events per second of processor time.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import msgspec
import structlog

from streams.connect.broker.memory.broker import MemoryBroker
from streams.connect.sinks.memory import MemoryShards
from streams.core.clock import VirtualClock, settle
from streams.core.settings import Settings
from streams.core.telemetry.metrics import Metrics
from streams.core.types import RecordBatch, TopicPartition
from streams.engine.app.app import App
from streams.engine.runtime.assignment import Opener
from streams.engine.runtime.commit.commit import commit
from streams.engine.state.memory import MemoryDisk
from streams.operate.topics.topics import wanted_topics

FETCH, FETCHES_A_COMMIT, KEYS = 10_000, 5, 1000


class Order(msgspec.Struct):
    account: str
    amount: float


def _app(kind: str) -> App:
    app = App("bench")
    orders = app.topic("orders", value_type=Order, key_field="account", partitions=1)
    sent = app.topic("sent", partitions=1)
    amounts = app.Table("amounts", default=float)
    counts = app.Table("counts", default=int)

    async def no_work(stream: Any) -> None:
        async for _ in stream:
            pass

    async def one_update(stream: Any) -> None:
        async for order in stream:
            amounts[order.account] += order.amount

    async def two_updates_and_a_send(stream: Any) -> None:
        async for order in stream:
            amounts[order.account] += order.amount
            counts[order.account] += 1
            await sent.send(key=order.account, value=counts[order.account])

    bodies: dict[str, Callable[[Any], Any]] = {
        body.__name__: body for body in (no_work, one_update, two_updates_and_a_send)
    }
    app.agent(orders, name="agent", tables=(amounts, counts))(bodies[kind])
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
    keys = [f"account-{number % KEYS}".encode() for number in range(FETCH)]
    values = [json.dumps({"account": key.decode(), "amount": 1.0}).encode() for key in keys]
    began_s = time.process_time()
    for number, start in enumerate(range(0, events, FETCH), 1):
        offsets = [*range(start, start + FETCH)]
        times, headers = [now_ms] * FETCH, [()] * FETCH
        partition.fold(RecordBatch(tp, start, start + FETCH, offsets, times, keys, values, headers))
        while partition.folded + partition.state.link.next_offset < start + FETCH:
            await settle()
        if number % FETCHES_A_COMMIT == 0:
            prepared = partition.prepare([0])
            await commit(partition, prepared, opened.producer, clock, metrics, 60.0)
    took_s = time.process_time() - began_s
    partition.abandon()
    await settle()
    return events / took_s


def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    events = int(sys.argv[1]) if len(sys.argv) > 1 else 500_000
    for kind in ("no_work", "one_update", "two_updates_and_a_send"):
        rate = asyncio.run(_measure(kind, events // FETCH * FETCH))
        sys.stdout.write(f"{kind}: {rate:,.0f} events/s\n")


if __name__ == "__main__":
    main()
