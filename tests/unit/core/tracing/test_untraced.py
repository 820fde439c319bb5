"""Without tracing there is no cost per record."""

from __future__ import annotations

import asyncio
import sys

from agents.app import AGGREGATE_METRICS
from streams.core.clock import settle
from streams.engine.runtime.worker import Worker
from tests.unit.engine.runtime.conftest import Rig


async def _tracing_calls(events) -> int:
    """The number of calls into `streams.core.tracing` while a worker folds, commits and emits
    ``events`` that were fetched at once.
    """
    rig, calls = Rig(), 0
    await rig.create_topics()
    await rig.produce_events(events)
    worker = Worker(
        agents=(AGGREGATE_METRICS,),
        broker=rig.broker,
        shards=rig.shards,
        stores=lambda group: rig.disk,
        clock=rig.clock,
        settings=rig.settings,
        metrics=rig.metrics,
        instance_id="host-0",
    )

    def count(frame, event, _) -> None:
        nonlocal calls
        calls += event == "call" and "/streams/core/tracing/" in frame.f_code.co_filename

    sys.setprofile(count)
    try:
        running = asyncio.ensure_future(worker.run(lambda: None))
        await settle()
        await rig.clock.advance(20)
    finally:
        sys.setprofile(None)
    assert sum(row["n"] for row in rig.shards.rows("m1")) == events
    await worker.abandon()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return calls


async def test_tracing_is_called_per_batch_and_commit_and_not_per_record():
    """A thousand records cause as many calls as ten."""
    few, many = await _tracing_calls(10), await _tracing_calls(1000)
    assert few == many > 0
