"""Topics that lose unconsumed records, or are deleted under a group: partitions stop, report it,
and resume only on an operator's command."""

from __future__ import annotations

import signal

import pytest

from agents.app import DIA_GROUP, MODEL_METRICS
from streams.core.errors import ChangelogLost, SourceTruncated, TopicRecreated
from streams.core.types import TopicPartition

CHANGELOG = MODEL_METRICS.changelog(DIA_GROUP)
SHAPE = {"duplicates": 0.0, "late": 0.0}
"""A reset forgets the ids and open windows of before: only a stream without repeats and late events
stays exact across one."""


async def at_rest(trial, events):
    """Feed, process all of it, and stop the worker."""
    trial.feed(events, rate_per_s=20_000, **SHAPE)
    await trial.fed()
    worker = trial.worker()
    await trial.settled()
    worker.send(signal.SIGTERM)
    assert await worker.ended() == 0, worker.tail()


async def reset_all(trial, worker, *options):
    """Reset every partition and start a fresh worker."""
    worker.send(signal.SIGTERM)
    assert await worker.ended() == 0, worker.tail()
    for partition in range(MODEL_METRICS.partitions):
        await trial.reset(partition, *options)
    return trial.worker()


async def test_a_deleted_changelog_stops_its_partitions(trial, report):
    """State rebuilt from the source would count everything again."""
    await at_rest(trial, 30_000)
    await trial.recreate_topics([CHANGELOG])
    trial.feed(20_000, rate_per_s=20_000)
    await trial.fed()
    worker = trial.worker()
    await worker.stopped_by(ChangelogLost.code)
    assert await trial.reading.unread() >= 20_000 - 1
    await reset_all(trial, worker)
    report(await trial.windows_exact("changelog deleted", note="stops; `dia tables reset`"))


async def test_a_recreated_source_stops_its_partitions(trial, report):
    """Offsets of another log do not apply: using them would silently skip its first records."""
    await at_rest(trial, 30_000)
    await trial.recreate_topics([MODEL_METRICS.name])
    trial.feed(20_000, rate_per_s=20_000)
    await trial.fed()
    worker = trial.worker()
    await worker.stopped_by(TopicRecreated.code)
    await reset_all(trial, worker)
    report(
        await trial.windows_exact("source deleted and recreated", note="stops; `dia tables reset`")
    )


@pytest.mark.parametrize("running", [False, True])
async def test_a_source_truncated_past_the_committed_offset_stops(trial, report, running):
    """Retention deleted uncounted records: that must not look like "caught up"."""
    trial.feed(30_000, rate_per_s=20_000, **SHAPE)
    await trial.fed()
    worker = trial.worker()
    await trial.settled()
    worker.send(signal.SIGSTOP if running else signal.SIGKILL)
    seen = trial.oracle.applied
    trial.feed(20_000, rate_per_s=20_000)
    await trial.fed()
    partitions = [TopicPartition(MODEL_METRICS.name, n) for n in range(MODEL_METRICS.partitions)]
    reader = await trial.broker.reader()
    ends = {tp: await reader.last_stable_offset(tp) for tp in partitions}
    await reader.close()
    await trial.with_admin(lambda a: a.delete_records(ends))
    if running:
        worker.send(signal.SIGCONT)
    else:
        worker = trial.worker()
    await worker.stopped_by(SourceTruncated.code)
    assert await trial.reading.visible_events() == seen
    await reset_all(trial, worker, "--resume-at-start")
    lost = trial.oracle.applied - seen
    trial.feed(20_000, rate_per_s=20_000)
    await trial.fed()
    await trial.settled()
    assert await trial.reading.visible_events() == trial.oracle.applied - lost
    await trial.audited(deep=False)
