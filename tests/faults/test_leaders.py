"""The leader of scheduled jobs is killed -9: another leads, and the job goes on."""

from __future__ import annotations

import asyncio
import time

from agents.app import app
from streams.connect.broker.opened import opened
from streams.engine.schedule.journal import entries, schedule_of
from streams.engine.schedule.ledger_audit import NAME
from tests.faults.worker import POLL_S

PROMOTION_S = 40.0
INTERVAL_S = 8.0


async def _journal(trial):
    async with opened(trial.broker.reader()) as reader:
        kept = await entries(reader, schedule_of(app.topology))
        return [entry for entry in kept if entry.job == NAME]


async def _until(trial, holds, timeout_s):
    async with asyncio.timeout(timeout_s):
        while not (found := holds(await _journal(trial))):  # noqa: ASYNC110 - a log notifies no waiter
            await asyncio.sleep(POLL_S)
    return found


def _slot(entry):
    return int(entry.leader.removesuffix("-leader").rpartition("-")[2])


async def test_a_killed_leader_is_replaced_within_forty_seconds(trial, report):
    """Scheduled jobs must go on without an operator."""
    before = len(await _journal(trial))
    trial.feed(60_000)
    workers = [trial.worker(slot, audit_interval_s=INTERVAL_S) for slot in (0, 1)]
    for worker in workers:
        await worker.until(lambda told: told.pid > 0)

    def ended(journal):
        return [e for e in journal[before:] if e.kind == "ended" and not e.error]

    first = (await _until(trial, ended, 120.0))[-1]
    doomed, survivor = _slot(first), 1 - _slot(first)
    workers[doomed].kill()
    killed_at, known = time.monotonic(), len(await _journal(trial))

    def promoted(journal):
        return [e for e in journal[known:] if e.kind == "began" and _slot(e) == survivor]

    (begun, *_) = await _until(trial, promoted, PROMOTION_S)
    note = f"another leads after {time.monotonic() - killed_at:.1f} s"
    assert begun.run > first.run
    journal = await _until(trial, lambda j: j if ended(j)[-1].run >= begun.run else [], 120.0)
    runs = [entry.run for entry in journal[before:] if entry.kind == "began"]
    assert runs == list(range(runs[0], runs[0] + len(runs)))
    report(await trial.exact("the leader killed", note))
