"""Tracing observes the engine without changing it: a history is the same with and without it."""

from __future__ import annotations

import pytest
from xxhash import xxh3_64_intdigest

from streams.connect.broker.memory.producer import MemoryPlainProducer
from streams.core.tracing.context import TraceContext
from streams.core.tracing.followed import LINKS_MAX
from streams.dev.simulation import world
from streams.dev.simulation.history import simulate
from streams.dev.simulation.inputs.stories import STORIES
from streams.dev.simulation.world import trace_of
from streams.engine.runtime.worker import Worker
from tests.depth import cases
from tests.unit.core.tracing.recorder import Recorder

SEEDS = range(cases(3))


@pytest.fixture
def _sampled_producers(monkeypatch):
    """A third of the records carries a trace header, one in six a sampled one."""
    send = MemoryPlainProducer.send

    async def sampled(self, topic, key, value, headers=()):
        number = xxh3_64_intdigest(value or b"")
        if number % 3 == 0:
            context = TraceContext(number + 1, 1, sampled=number % 6 == 0)
            headers = (*headers, ("traceparent", context.header))
        return await send(self, topic, key, value, headers)

    monkeypatch.setattr(MemoryPlainProducer, "send", sampled)


@pytest.mark.parametrize("story", sorted(STORIES))
@pytest.mark.usefixtures("_sampled_producers")
def test_a_traced_history_is_the_same(story, monkeypatch):
    """The logs, the shards' rows and every turn of the event loop are equal, through crashes,
    fenced processes and outages."""
    plain = [trace_of(simulate(seed, STORIES[story])) for seed in SEEDS]
    recorder = Recorder()

    def traced(**parts) -> Worker:
        return Worker(**parts, tracer=recorder.tracer(parts["clock"]))

    monkeypatch.setattr(world, "Worker", traced)
    assert [trace_of(simulate(seed, STORIES[story])) for seed in SEEDS] == plain
    processed = [s for s in recorder.spans if s.name.startswith("process ")]
    inserts = [s for s in recorder.spans if s.name.startswith("insert ")]
    assert processed
    assert inserts
    for span in (*processed, *inserts):
        assert 0 < len(span.links) <= LINKS_MAX
        assert span.start_time <= span.end_time
