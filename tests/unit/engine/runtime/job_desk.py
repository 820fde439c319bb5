"""A harness for one partition of `simulate_decision`: broker, disk and clock in memory."""

from __future__ import annotations

import asyncio
import itertools
import json
from dataclasses import replace

from agents.app import (
    SIMULATE_DECISION,
    SIMULATION_REQUEST,
    SIMULATION_RESULT,
    SIMULATOR_GROUP,
    app,
)
from streams.connect.broker.memory.broker import MemoryBroker
from streams.connect.sinks.memory import MemoryShards
from streams.core.clock import VirtualClock, settle
from streams.core.settings import Settings
from streams.core.telemetry.metrics import Metrics
from streams.core.types import TopicPartition
from streams.engine.agents.queue_policy import QueuePolicy
from streams.engine.runtime.assignment import Opener
from streams.engine.runtime.commit.commit import commit
from streams.engine.runtime.jobs.dispatcher import Dispatcher
from streams.engine.state.memory import MemoryDisk
from streams.operate.topics.topics import wanted_topics

SOURCE = TopicPartition(SIMULATION_REQUEST.name, 0)
RESULTS = TopicPartition(SIMULATION_RESULT.name, 0)
DLQ = TopicPartition(SIMULATION_REQUEST.dlq, 0)
SETTINGS = Settings(max_ahead=5, changelog_slack_bytes=500)


class Hand:
    """A `Performer` whose work ends when the test says so; each run has its own number."""

    slots = 100

    def __init__(self):
        self.runs = itertools.count(1)
        self.waiting = {}
        self.started = []
        self.failing = {}
        self.told = []

    def told_waiting(self, jobs):
        """Its slots are fixed."""

    def queue(self, name):
        return QueuePolicy()

    def needs(self, event):
        return ()

    async def prepare(self, event):
        """The events need no preparation."""

    async def perform(self, event, prepared, timeout_s):
        run = next(self.runs)
        self.started.append(event.request_id)
        gate = self.waiting.setdefault(event.request_id, asyncio.Event())
        await gate.wait()
        if failures := self.failing.get(event.request_id):
            raise failures.pop()
        return {"run": run}

    def finished(self, event, outcome):
        self.told.append(event.request_id)

    async def close(self):
        """Nothing to close."""


class Desk:
    """One partition, and its successive owner processes."""

    def __init__(self, settings=SETTINGS):
        self.settings = settings
        self.clock = VirtualClock()
        self.broker = MemoryBroker(self.clock)
        self.shards = MemoryShards(2, self.clock, tables=app.clickhouse_tables)
        self.disk = MemoryDisk()
        self.hand = Hand()
        self.numbers = itertools.count()

    async def create_topics(self):
        admin = await self.broker.admin()
        await admin.create_topics(
            [replace(topic, partitions=1) for topic in wanted_topics(app.topology)]
        )

    async def open(self):
        """Steps A1 to A4, in a new process."""
        dispatcher = self.dispatcher = Dispatcher(self.hand, self.clock, Metrics(), 0.25)
        opener = Opener(
            broker=self.broker,
            stores=self.disk,
            clock=self.clock,
            settings=self.settings,
            shards=self.shards,
            dispatchers={SIMULATE_DECISION.name: dispatcher},
        )
        self.opened = await opener.open(SIMULATE_DECISION, SOURCE, lambda: None)
        self.partition = self.opened.partition

    async def close(self):
        """Ends all its tasks."""
        await self.dispatcher.close()
        await settle()

    async def crash(self):
        self.partition.abandon()
        await settle()
        await self.open()

    async def ask(self, key, **fields):
        """Append a request; returns its id."""
        request_id = f"r{next(self.numbers)}"
        request = {
            "request_id": request_id,
            "idempotency_key": key,
            "tenant_id": "t",
            "model_id": "m",
            "scenario": "s",
            "priority": 1,
            "trials": 1,
            "parameters": {},
            "ts": self.clock.now_ms(),
        }
        producer = self.broker.plain_producer()
        value = json.dumps({**request, **fields}).encode()
        tenant = {**request, **fields}["tenant_id"].encode()
        await (await producer.send(SOURCE.topic, tenant, value))
        return request_id

    async def read(self):
        """Steps J1 and J2 for all records of the source."""
        reader = await self.broker.reader()
        self.partition.fold(await reader.read(SOURCE, self.partition.position, 1 << 20))
        await settle()

    async def finish(self, *request_ids):
        for request_id in request_ids:
            self.hand.waiting[request_id].set()
        await settle()

    async def commit(self):
        prepared = self.partition.prepare([100, 100])
        await commit(self.partition, prepared, self.opened.producer, self.clock, Metrics(), 4.0)
        return prepared

    def results(self):
        values = self.broker.log(RESULTS).read_committed(0, 1 << 20).values
        return {result["request_id"]: result for result in map(json.loads, values)}

    def letters(self):
        """The headers of each dead letter."""
        return [dict(found) for found in self.broker.log(DLQ).read_committed(0, 1 << 20).headers]

    def dead(self):
        return [found["dia.dlq.error_code"].decode() for found in self.letters()]

    def committed(self):
        found = self.broker.committed(SIMULATOR_GROUP, SOURCE)
        return found.offset if found else None
