"""Traces of `dia produce`: continued from the caller, or started for each block."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agents.app import app
from streams.connect.broker.memory.broker import MemoryBroker
from streams.core.clock import SystemClock
from streams.core.tracing.context import TraceContext
from streams.core.types import TopicPartition
from streams.operate.produce.feed import RecordFeed
from streams.operate.topics.topics import wanted_topics
from tests.unit.core.tracing.recorder import CALLER, identity

TOPIC = "model.metrics"


@pytest.fixture
async def broker() -> MemoryBroker:
    made = MemoryBroker(SystemClock())
    admin = await made.admin()
    await admin.create_topics(
        [replace(topic, partitions=1) for topic in wanted_topics(app.topology)]
    )
    return made


async def _sent(broker, **parts) -> list[bytes]:
    """The header of each of two blocks with two records."""
    feed = RecordFeed(broker.plain_producer(), TOPIC, SystemClock(), **parts)
    for _ in range(2):
        await feed.send([b"t"] * 2, [b"{}"] * 2)
    await feed.drain()
    batch = broker.log(TopicPartition(TOPIC, 0)).read_committed(0, 99)
    return [dict(found).get("traceparent", b"") for found in batch.headers[::2]]


async def test_a_traced_block_continues_its_callers_trace(broker, recorder):
    """Each block has its own span, whose id its records carry."""
    tracer = recorder.tracer(SystemClock())
    headers = await _sent(broker, tracer=tracer, traceparent=CALLER.header)
    spans = recorder.named(f"take {TOPIC}")
    assert [TraceContext.read(raw)[:2] for raw in headers] == [identity(span) for span in spans]
    assert {span.parent.span_id for span in spans} == {CALLER.span_id}


async def test_without_a_caller_the_ratio_decides_for_each_block(broker, recorder):
    """A stream of millions is sampled, not traced whole."""
    first, second = await _sent(broker, tracer=recorder.tracer(SystemClock(), ratio=1.0))
    assert TraceContext.read(first).trace_id != TraceContext.read(second).trace_id


async def test_an_untraced_producer_forwards_the_callers_trace(broker):
    """A process without a collector must not break the trace of one that has it."""
    assert await _sent(broker, traceparent=CALLER.header) == [CALLER.header] * 2
    assert await _sent(broker) == [CALLER.header] * 2 + [b""] * 2
