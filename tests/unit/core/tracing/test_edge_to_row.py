"""One event with a trace, from a real edge through the engine to its row."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx
import pytest

from agents.app import app
from streams.connect.access.tokens import Role, TokenFile
from streams.connect.broker.memory.broker import MemoryBroker
from streams.connect.sinks.memory import MemoryShards, rows_of
from streams.core.clock import SystemClock
from streams.core.errors import ShardUnavailable
from streams.core.settings import Settings
from streams.core.telemetry.metrics import Metrics
from streams.core.tracing.context import TraceContext
from streams.core.types import TopicPartition
from streams.engine.runtime.worker import Worker
from streams.engine.state.memory import MemoryDisk
from streams.http.edge.serving import EdgeProcess
from streams.operate.topics.topics import wanted_topics
from tests.unit.core.tracing.recorder import CALLER, IGNORED, identity, links

PATIENT_S = 200
POLL_S = 0.01
DAY_S = 86_400


class Pipeline:
    """An edge and a worker on one memory broker and memory shards."""

    def __init__(self, home, recorder, ratio=0.0, **settings) -> None:
        self.settings = Settings(
            home=str(home), commit_interval_s=0.02, emit_interval_s=0.05, **settings
        )
        self.clock = SystemClock()
        self.broker = MemoryBroker(self.clock)
        self.shards = MemoryShards(2, self.clock, tables=app.clickhouse_tables)
        self.recorder = recorder
        self._tracer = recorder.tracer(self.clock, ratio=ratio)
        _, self.token = TokenFile.of(home).create(
            tenant="acme", role=Role.OPERATE, now_ms=self.clock.now_ms()
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Pipeline]:
        admin = await self.broker.admin()
        await admin.create_topics(
            [replace(topic, partitions=1) for topic in wanted_topics(app.topology)]
        )
        edge = EdgeProcess(
            self.settings, app.topology, self.broker, self.clock, Metrics(), self._tracer
        )
        disk = MemoryDisk()
        worker = Worker(
            agents=[
                agent
                for agent in tuple(app.agents.values())
                if agent.source.name == "model.metrics"
            ],
            broker=self.broker,
            shards=self.shards,
            stores=lambda group: disk,
            clock=self.clock,
            settings=self.settings,
            metrics=Metrics(),
            instance_id="host-0",
            tracer=self._tracer,
        )
        tasks = [
            asyncio.create_task(edge.intake.run()),
            asyncio.create_task(worker.run(lambda: None)),
        ]
        self._transport = httpx.ASGITransport(edge.app())
        try:
            yield self
        finally:
            await worker.abandon()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            edge.close()

    async def post(self, *events, traceparent=None) -> None:
        now_ms = self.clock.now_ms()
        good = {"tenant_id": "acme", "model_id": "m", "metric": "x", "ts": now_ms, "value": 1.0}
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/x-ndjson"}
        if traceparent is not None:
            headers["traceparent"] = traceparent.header.decode()
        async with httpx.AsyncClient(transport=self._transport, base_url="http://edge") as http:
            answer = await http.post(
                "/v1/events/model.metrics",
                content="\n".join(json.dumps({**good, **event}) for event in events),
                headers=headers,
            )
        assert answer.status_code == 202, answer.text

    async def until(self, reached) -> None:
        async with asyncio.timeout(PATIENT_S):
            while not reached():  # noqa: ASYNC110 - shards in memory have no event to wait for
                await asyncio.sleep(POLL_S)

    async def counted(self, events) -> None:
        """Wait until the rows on the shards contain this many events."""
        await self.until(lambda: sum(row["n"] for row in self.rows()) == events)

    def rows(self):
        return self.shards.rows("m1")

    def headers(self, topic="model.metrics"):
        batch = self.broker.log(TopicPartition(topic, 0)).read_committed(0, 9999)
        return batch.headers


@pytest.fixture
async def pipeline(tmp_path, recorder):
    async with Pipeline(tmp_path, recorder).running() as made:
        yield made


async def test_from_the_callers_span_to_the_rows_of_the_shard(pipeline, recorder):
    """Each span is found from the one before it."""
    await pipeline.post({"value": 2.0}, {"value": 3.0}, traceparent=CALLER)
    await pipeline.counted(2)
    await pipeline.until(lambda: {"insert m1", "insert ledger"} <= {*recorder.names})
    (taken,) = recorder.named("take model.metrics")
    assert taken.context.trace_id == CALLER.trace_id
    assert taken.parent.span_id == CALLER.span_id
    (sent,) = recorder.named("send model.metrics")
    assert links(sent) == [identity(taken)]
    (headers,) = set(pipeline.headers())
    assert TraceContext.read(dict(headers)["traceparent"])[:2] == identity(taken)
    (processed,) = recorder.linked("process model.metrics", taken)
    steps = recorder.children(processed)
    assert [step.name for step in steps] == ["C1 fold", "C2 send", "C3 commit", "C4 store"]
    assert processed.start_time <= min(step.start_time for step in steps)
    assert processed.end_time >= max(step.end_time for step in steps)
    inserts = recorder.linked("insert m1", processed)
    (row,) = pipeline.rows()
    assert {span.attributes["dia.shard"] for span in inserts} == {
        pipeline.shards.maps[0].shard_of([row["tenant"]], [row["model"]], [row["metric"]])[0]
    }
    assert recorder.linked("insert ledger", processed)


async def test_an_unsampled_event_leaves_no_trace(pipeline, recorder):
    """Not even a header: the caller decided not to sample, and the ratio here is 0."""
    await pipeline.post({}, traceparent=IGNORED)
    await pipeline.post({})
    await pipeline.counted(2)
    assert set(pipeline.headers()) == {()}
    assert recorder.names == []


async def test_without_a_caller_the_ratio_decides(tmp_path, recorder):
    """The trace begins at the edge."""
    async with Pipeline(tmp_path, recorder, ratio=1.0).running() as pipeline:
        await pipeline.post({})
        await pipeline.post({}, traceparent=IGNORED)
        await pipeline.counted(2)
        (taken,) = recorder.named("take model.metrics")
        assert taken.parent is None
        assert len([found for found in pipeline.headers() if found]) == 1


async def test_a_bad_event_is_followed_into_the_dead_letters(pipeline, recorder):
    """The dead letter keeps the header, and its row in ClickHouse comes from the commit with the
    link.
    """
    producer = pipeline.broker.plain_producer()
    header = (("traceparent", CALLER.header),)
    await (await producer.send("model.metrics", b"acme", b"{", header))
    await pipeline.until(lambda: "insert dead_letters" in recorder.names)
    (processed,) = recorder.named("process model.metrics")
    assert links(processed) == [CALLER[:2]]
    assert recorder.linked("insert dead_letters", processed)
    (found,) = pipeline.headers("model.metrics.dlq")
    assert dict(found)["traceparent"] == CALLER.header


async def test_traces_and_logs_hold_no_key_no_value_and_no_tenant(pipeline, recorder, capsys):
    """A collector, and a place that keeps logs, have readers of their own."""
    await pipeline.post({"model_id": "private", "metric": "private"}, traceparent=CALLER)
    producer = pipeline.broker.plain_producer()
    header = (("traceparent", CALLER.header),)
    for value in (b'{"tenant_id": "private"', b'{"tenant_id": "acme", "value": "private"}'):
        await (await producer.send("model.metrics", b"acme", value, header))
    await pipeline.counted(1)
    await pipeline.until(lambda: len(pipeline.shards.rows("dead_letters")) == 2)
    await pipeline.until(lambda: "insert dead_letters" in recorder.names)
    traced = "".join(span.to_json() for span in recorder.spans)
    assert "model.metrics" in traced
    logged = "".join(capsys.readouterr())
    assert "partition_ready" in logged
    for text in (traced, logged):
        assert "private" not in text
        assert "acme" not in text


async def test_a_shard_that_is_away_shows_as_failed_attempts(pipeline, recorder, monkeypatch):
    """The trace shows an operator which shard the event waits for."""
    # Only the first insert of windows fails: after several failures a shard gets no rows of open
    # windows, and the event would have one attempt until its window closes.
    insert, failed = pipeline.shards.insert, []

    async def away_once(shard, chunks):
        if not failed and any(table == "m1" for table, _ in rows_of(chunks)):
            failed.append(shard)
            raise ShardUnavailable(f"shard {shard} is away (scripted).")
        await insert(shard, chunks)

    monkeypatch.setattr(pipeline.shards, "insert", away_once)
    await pipeline.post({}, traceparent=CALLER)
    await pipeline.counted(1)
    (processed,) = recorder.named("process model.metrics")
    await pipeline.until(
        lambda: any(span.status.description is None for span in recorder.named("insert m1"))
    )
    attempts = recorder.linked("insert m1", processed)
    assert attempts[0].status.description == "shard_unavailable"
    assert attempts[-1].status.description is None
