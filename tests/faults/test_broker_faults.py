"""A broker that dies, stays unavailable, or refuses a record inside a transaction."""

from __future__ import annotations

import asyncio

import pytest

from agents.app import DIA_GROUP, MODEL_METRICS
from streams.dev.local.stack import restart_service
from tests.faults.services import absent

AWAY_S = 60.0


async def test_a_broker_killed_under_load_costs_nothing(trial, report):
    """The kill interrupts open transactions, commits without an answer, and produced records."""
    workers = [trial.worker(0), trial.worker(1)]
    await workers[0].ready()
    trial.feed(150_000)
    for _ in range(2):
        await asyncio.sleep(trial.rng.uniform(1.0, 3.0))
        await asyncio.to_thread(restart_service, trial.stack.home, "kafka")
    await trial.recovered()
    report(await trial.exact("broker kill -9 and restart, twice"))
    assert [worker.exit_code for worker in workers] == [None, None]


@pytest.mark.timeout(400)
async def test_a_worker_outlives_its_broker(trial, report):
    """Workers must continue by themselves when a broker comes back."""
    workers = [trial.worker(0), trial.worker(1)]
    await workers[0].ready()
    trial.feed(100_000)
    await asyncio.sleep(2.0)
    away = absent(trial.stack.home, "kafka")
    await asyncio.to_thread(away.__enter__)
    try:
        await asyncio.sleep(AWAY_S)
    finally:
        await asyncio.to_thread(away.__exit__, None, None, None)
    await trial.recovered()
    report(await trial.exact(f"no broker for {AWAY_S:g} s"))
    assert [worker.exit_code for worker in workers] == [None, None]


async def test_a_cache_that_is_gone_stops_nothing(trial, report):
    """No result depends on Redis."""
    away = absent(trial.stack.home, "redis")
    await asyncio.to_thread(away.__enter__)
    try:
        trial.feed(40_000)
        trial.worker()
        finding = await trial.exact("Redis gone")
    finally:
        await asyncio.to_thread(away.__exit__, None, None, None)
    report(finding)


@pytest.mark.parametrize(
    ("name", "limit"), [(MODEL_METRICS.dlq, 300), (MODEL_METRICS.changelog(DIA_GROUP), 1000)]
)
async def test_a_refused_send_holds_back_its_whole_transaction(trial, report, name, limit):
    """aiokafka commits a transaction in which a send failed: the dead letter or the state would be
    lost while the offset counts as processed."""
    config = (await trial.with_admin(lambda a: a.describe_topics()))[name].config
    allowed = config.get("max.message.bytes", "1048588")
    await trial.with_admin(lambda a: a.alter_config(name, {"max.message.bytes": str(limit)}))
    trial.feed(40_000, poison=0.02)
    worker = trial.worker()
    await worker.until(lambda _: worker.said("commit_in_doubt") >= 3)
    await trial.fed()
    assert await trial.reading.unread() > 0
    await trial.with_admin(lambda a: a.alter_config(name, {"max.message.bytes": allowed}))
    await trial.recovered()
    kind = "dead letter" if name == MODEL_METRICS.dlq else "changelog record"
    report(await trial.exact(f"{kind} refused inside a transaction"))
    assert worker.exit_code is None, worker.tail()
