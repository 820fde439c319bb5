"""A pipeline that traces nothing pays nothing for records."""

from __future__ import annotations

import asyncio
import sys

from agents.app import AGGREGATE_METRICS
from streams.core.clock import settle
from streams.engine.runtime.worker import Worker
from tests.unit.engine.runtime.conftest import Rig


async def _told(events) -> int:
    """How often code of `streams.core.tracing` runs while a worker folds, commits and shows ``events``,
    all fetched at once."""
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


async def test_it_is_told_of_batches_and_commits_and_never_of_records():
    """A thousand records cost as many calls as ten."""
    few, many = await _told(10), await _told(1000)
    assert few == many > 0
