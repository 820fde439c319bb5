"""Deploys: a new format of the state, and a faulty producer."""

from __future__ import annotations

import asyncio
import signal

from agents.app import MODEL_METRICS
from streams.core.errors import PoisonStorm, UnknownFormat

STORM = {"poison": 0.85, "duplicates": 0.0, "late": 0.0, "future": 0.0}
POISON_MIN_RECORDS = 1000


async def replaced(worker, trial, *, newer):
    """Replace the worker of one slot by the other version."""
    worker.send(signal.SIGTERM)
    assert await worker.ended() == 0, worker.tail()
    return trial.worker(worker.slot, newer=newer)


async def test_a_rolling_restart_moves_the_format_forward_and_stops_on_the_way_back(trial, report):
    """The newer version reads what the older one wrote; the older one must refuse the newer format,
    and while it is stopped the newer one continues beside it."""
    workers = [trial.worker(0), trial.worker(1)]
    await workers[0].ready()
    trial.feed(150_000)
    await trial.until_read(20_000)
    for slot in (0, 1):
        workers[slot] = await replaced(workers[slot], trial, newer=True)
        await workers[slot].ready()
        await asyncio.sleep(2.0)
    await trial.until_read(60_000)
    workers[0] = await replaced(workers[0], trial, newer=False)
    await workers[0].stopped_by(UnknownFormat.code)
    assert workers[1].exit_code is None, workers[1].tail()
    workers[0] = await replaced(workers[0], trial, newer=True)
    await trial.recovered()
    report(await trial.exact("state format N, N + 1, N, N + 1 in a rolling restart"))


async def test_a_storm_of_poison_stops_the_partition_before_the_dead_letters(trial, report):
    """A bad deploy must not drain the topic into the DLQ, nor make the worker restart endlessly;
    after an operator's decision, every bad record is dead-lettered once."""
    trial.feed(60_000, rate_per_s=20_000, **STORM)
    worker = trial.worker()
    await worker.stopped_by(PoisonStorm.code)
    await worker.until(lambda told: all(held["stopped_by"] for held in told.partitions))
    await trial.fed()
    stopped = worker.said("partition_stopped")
    flood = len(await trial.dead_letters())
    assert flood < MODEL_METRICS.partitions * POISON_MIN_RECORDS
    assert await trial.reading.unread() > 0
    again = await replaced(worker, trial, newer=False)
    await again.stopped_by(PoisonStorm.code)
    again.send(signal.SIGTERM)
    assert await again.ended() == 0, again.tail()
    trial.worker(poison_max_ratio=1)
    note = f"{stopped} partitions stopped, {flood} dead letters before; `DIA_POISON_MAX_RATIO=1`"
    report(await trial.exact("85 % poison", note=note))


async def test_what_an_operator_lets_through_goes_on_without_a_restart(trial, report):
    """The worker that stopped every partition reads the operator's decision from the broker and
    dead-letters each bad record once."""
    trial.feed(60_000, rate_per_s=20_000, **STORM)
    worker = trial.worker()
    await worker.stopped_by(PoisonStorm.code)
    await worker.until(lambda told: all(held["stopped_by"] for held in told.partitions))
    await trial.fed()
    told = await trial.command("dlq", "breaker", "reset", "--yes", "--actor", "ann", "--json")
    passed = len(told.splitlines())
    assert passed == MODEL_METRICS.partitions
    report(await trial.exact("85 % poison, let through", note=f"{passed} partitions, no restart"))
    assert worker.exit_code is None, worker.tail()
