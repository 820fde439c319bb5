"""A source topic with its DLQ, parking lot, journal and dead letters on the broker under test."""

from __future__ import annotations

import asyncio
import json
import uuid
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from agents.app import MODEL_METRICS, app
from streams.connect.broker.log_range import read_range
from streams.connect.broker.opened import opened
from streams.connect.broker.partitioner import partition_of
from streams.connect.sinks.memory import MemoryShards
from streams.core.clock import SystemClock
from streams.core.rows.targets import Targets
from streams.core.settings import Settings
from streams.core.topics.topic import Topic
from streams.core.topics.topology import Topology
from streams.core.types import Broker, RecordBatch, TopicPartition
from streams.engine.runtime.effects.dead_letters import Failure, Origin, dead_letter
from streams.operate.dlq.filters import Filters
from streams.operate.dlq.scan import bounds, scan
from streams.operate.replay.journal.status import PartitionStatus, read_standing
from streams.operate.replay.plan.plan import ReplayPlan, Terms
from streams.operate.replay.plan.planner import Draft, PlanRequest, make_plan
from streams.operate.replay.run.partition_run import RunContext
from streams.operate.replay.run.run import RunResult, run_plan
from streams.operate.topics.topics import wanted_topics

PARTITIONS = 2
FIRST_MS = 1_760_000_000_000


@dataclass
class Lot:
    """One source topic with its dead-letter topics, in an app of its own."""

    broker: Broker
    source: Topic
    clock: SystemClock = field(default_factory=SystemClock)
    shards: MemoryShards | None = field(init=False)
    targets: Targets = field(default_factory=lambda: app.targets)
    buried: int = 0
    purged: int = 0
    """Of ``buried``: dead letters whose DLQ topic was deleted since."""

    @property
    def topology(self) -> Topology:
        """A topology that declares this source only."""
        return Topology(self.source.app, (self.source,), targets=self.targets)

    def __post_init__(self) -> None:
        self.shards = MemoryShards(2, self.clock, tables=app.clickhouse_tables)

    async def create(self) -> None:
        admin = await self.broker.admin()
        await admin.create_topics(wanted_topics(self.topology, 1))
        await admin.close()

    async def recreate_dlq(self) -> None:
        """Delete the DLQ topic and create it again."""
        admin = await self.broker.admin()
        await admin.delete_topics([self.source.dlq])
        await admin.create_topics(
            [topic for topic in wanted_topics(self.topology, 1) if topic.name == self.source.dlq]
        )
        await admin.close()
        self.purged = self.buried

    def event(self, number: int, tenant: str = "t", **fields: Any) -> bytes:
        body = {
            "event_id": f"e{number}",
            "tenant_id": tenant,
            "model_id": "m",
            "metric": "x",
            "ts": FIRST_MS,
            "value": 1.0,
        }
        return json.dumps({**body, **fields}).encode()

    async def bury(
        self,
        *values: bytes | None,
        code: str = "wrong_type",
        headers: Any = (),
        key: bytes = b"t",
        ahead_ms: int = 0,
    ) -> None:
        """Write dead letters of records that never were in the source topic. ``ahead_ms``: of the clock
        of the worker that wrote them."""
        name = f"buries-{uuid.uuid4().hex}"
        writer = self.broker.transactional_producer(name)
        await writer.start()
        await writer.begin()
        partition = partition_of(key, PARTITIONS)
        for value in values:
            batch = RecordBatch(
                TopicPartition(self.source.name, partition),
                *(self.buried, self.buried + 1, [self.buried], [FIRST_MS + self.buried]),
                *([key], [value], [tuple(headers)]),
            )
            failure = Failure(
                code=code,
                message="why",
                stage="decode",
                agent="a",
                group="dia-group",
                attempts=1,
                first_failed_ms=FIRST_MS + self.buried + ahead_ms,
            )
            await (await writer.send(dead_letter(Origin.of(batch, 0, 0), failure, "t").record))
            self.buried += 1
        await writer.commit()
        # A commit returns once it is decided; its markers reach the partitions a moment later.
        # Starting the producer again waits for them.
        await writer.close()
        again = self.broker.transactional_producer(name)
        await again.start()
        await again.close()
        assert len(await self.letters()) == self.buried - self.purged

    async def letters(self) -> list[Any]:
        """All dead letters of the DLQ, in order of partition."""
        return [one for page in await self.pages() for one in page]

    async def pages(self) -> list[list[Any]]:
        async with opened(self.broker.reader()) as reader:
            spans = await bounds(reader, self.source.dlq, PARTITIONS)
            return [page async for page in scan(reader, spans, self.topology)]

    async def standing(self, partition: int) -> PartitionStatus:
        async with opened(self.broker.reader()) as reader:
            return await read_standing(reader, self.source, partition)

    async def read(
        self, topic: str, count: int | None = None
    ) -> list[tuple[int, bytes | None, bytes | None, dict]]:
        """(partition, key, value, headers) of every committed record, once there are ``count``."""
        async with asyncio.timeout(200):
            while True:
                found = await self._read(topic)
                if len(found) >= (count or 0):
                    return found
                await asyncio.sleep(0.05)  # each look opens a reader

    async def _read(self, topic: str) -> list[tuple[int, bytes | None, bytes | None, dict]]:
        reader, found = await self.broker.reader(), []
        for number in range(PARTITIONS):
            tp = TopicPartition(topic, number)
            end = await reader.last_stable_offset(tp)
            async for batch in read_range(reader, tp, 0, end):
                rows = zip(batch.keys, batch.values, batch.headers, strict=True)
                found += [(number, key, value, dict(headers)) for key, value, headers in rows]
        await reader.close()
        return found

    async def plan(self, filters: Filters | None = None, **terms: Any) -> Draft:
        request = PlanRequest(
            source=self.source,
            filters=filters or Filters(),
            terms=Terms(**terms),
            id=f"plan-{uuid.uuid4().hex[:6]}",
            actor="ann",
            asked={},
        )
        return await make_plan(
            *(self.broker, self.clock, Settings(), self.topology, request),
            progress=lambda at, end: None,
        )

    def means(self, **other: Any) -> RunContext:
        return RunContext(
            broker=self.broker,
            shards=self.shards,
            clock=self.clock,
            settings=Settings(),
            topology=self.topology,
            actor="bob",
            run=uuid.uuid4().hex,
            **other,
        )

    async def run(self, plan: ReplayPlan, *, resume: bool = False, **other: Any) -> RunResult:
        return await run_plan(self.means(**other), plan, resume=resume)

    async def until_shown(self, count: int) -> dict[str, tuple[str, int, str]]:
        """Return `shown` once it has ``count`` rows."""
        async with asyncio.timeout(200):
            while len(found := self.shown()) < count:  # noqa: ASYNC110 - rows in another's memory
                await asyncio.sleep(0.01)
            return found

    def shown(self) -> dict[str, tuple[str, int, str]]:
        """Disposition, version and actor of each dead letter's ClickHouse row, by dead-letter id."""
        rows = self.shards.rows("dead_letters")
        return {row["id"]: (row["disposition"], row["ver"], row["actor"]) for row in rows}


@pytest.fixture
async def lot(world: Any) -> Lot:
    """An empty DLQ under a name unique to the test."""
    name = world.name("src")
    # An app of its own has consumer groups of its own: a shared group would wait 6 s for the member
    # of the test before.
    made = Lot(
        world.broker, replace(MODEL_METRICS, app=f"app-{name}", name=name, partitions=PARTITIONS)
    )
    await made.create()
    return made
