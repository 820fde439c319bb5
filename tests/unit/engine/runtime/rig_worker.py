"""A whole worker on the broker, disk and shards of a `Rig`."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

from agents.app import AGGREGATE_METRICS
from streams.core.clock import settle
from streams.engine.runtime.worker import Worker


@asynccontextmanager
async def running(rig, clock=None, sinks=None):
    """A worker on ``rig``, optionally with another clock; it is abandoned at the end of the test."""
    worker = Worker(
        agents=(AGGREGATE_METRICS,),
        broker=rig.broker,
        shards=rig.shards,
        stores=lambda group: rig.disk,
        clock=clock or rig.clock,
        settings=rig.settings,
        metrics=rig.metrics,
        instance_id="host-0",
        sinks=sinks or {},
    )
    task = asyncio.ensure_future(worker.run(lambda: None))
    await settle()
    yield worker
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await worker.abandon()
