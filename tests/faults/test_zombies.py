"""Processes that are suspended past their session, lose their partitions, and resume as if they
owned them."""

from __future__ import annotations

import asyncio
import signal
import time

PAUSE_S = 9.0
"""Seconds; longer than the session timeout of a trial, 6 s."""


async def test_a_zombie_that_slept_through_its_session_changes_nothing(trial, report):
    """A suspended machine or a long garbage collection is a classic cause of double writes."""
    first, second = trial.worker(0), trial.worker(1)
    await first.ready()
    await second.ready()
    trial.feed(120_000)
    await asyncio.sleep(1.0)
    first.send(signal.SIGSTOP)
    await asyncio.sleep(PAUSE_S)
    await second.until(lambda told: told.ready and len(told.partitions) == 4)
    first.send(signal.SIGCONT)
    await trial.recovered()
    report(await trial.exact("SIGSTOP beyond the session timeout, SIGCONT"))
    assert first.exit_code is None, first.tail()


async def test_a_zombie_inside_a_commit_changes_nothing(trial, report):
    """It resumes with an open transaction and the commit as its next call: the broker must refuse
    it. The worker drops the partition at the refusal, or when the commit's time limit passes
    first."""
    trial.feed(100_000)
    first = trial.worker(0, doom=("SIGSTOP", "before", "producer.commit", "5"))
    deadline = time.monotonic() + 60
    while not trial.moment.exists():
        assert time.monotonic() < deadline, first.tail()
        await asyncio.sleep(0.05)
    second = trial.worker(1)
    await second.until(lambda told: told.ready and len(told.partitions) == 4)
    await trial.until_read(40_000)
    first.send(signal.SIGCONT)
    await trial.recovered()
    report(await trial.exact("SIGSTOP between C2 and C3, SIGCONT after a takeover"))
    assert first.exit_code is None, first.tail()
    assert first.said("producer_fenced") + first.said("commit_in_doubt") >= 1, first.tail()
