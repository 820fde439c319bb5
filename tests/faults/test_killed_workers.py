"""Workers that die at random, at each numbered step of the protocol, and with full buffers."""

from __future__ import annotations

import asyncio
import signal

STEPS = {
    "C2 begun": ("after", "producer.begin", "3"),
    "C2 sent": ("after", "producer.send", "9"),
    "C3 before the offsets": ("before", "producer.send_offsets", "4"),
    "C3 before the commit": ("before", "producer.commit", "5"),
    "C3 after the commit": ("after", "producer.commit", "4"),
    "C4 before the write": ("before", "store.write", "6"),
    "C4 after the write": ("after", "store.write", "7"),
    "C5 before the insert": ("before", "shards.insert", "2"),
    "C5 after the insert": ("after", "shards.insert", "2"),
    "A1 before the fence": ("before", "producer.start", "2"),
    "A1 after the fence": ("after", "producer.start", "2"),
    "A2": ("after", "store.open", "3"),
    "A3": ("after", "reader.read", "2"),
    "A4": ("after", "reader.last_stable_offset", "6"),
    "A5": ("before", "consumer.resume", "2"),
}
"""Where a process dies, as (moment, call, nth) of `doomed_worker`."""


async def test_a_worker_killed_at_every_step_loses_and_doubles_nothing(trial, report):
    """Between any two steps, only the log tells the successor what was done."""
    trial.feed(120_000, rate_per_s=3000)
    for step, (moment, call, nth) in STEPS.items():
        # Only a worker with an empty state folder reads the changelog.
        state = "fresh" if step == "A3" else "state"
        doomed = trial.worker(state=state, doom=("SIGKILL", moment, call, nth))
        code = await doomed.ended()
        assert code == -signal.SIGKILL, f"{step}: {doomed.tail()}"
        assert trial.moment.read_text() == f"{moment} {call}", step
        trial.moment.unlink()
    trial.worker()
    await trial.recovered()
    report(await trial.exact("kill -9 at each step", note=", ".join(STEPS)))


async def test_workers_killed_at_random_lose_and_double_nothing(trial, report):
    """Unlike the trial above, most of these kills hit the middle of a call."""
    slots = {slot: trial.worker(slot) for slot in (0, 1)}
    await slots[0].ready()
    trial.feed(90_000)
    for _ in range(6):
        await asyncio.sleep(trial.rng.uniform(0.2, 2.5))
        slot = trial.rng.choice((0, 1))
        slots[slot].kill()
        slots[slot] = trial.worker(slot)
    await trial.recovered()
    report(await trial.exact("kill -9 at random, six times"))


async def test_a_worker_told_to_stop_with_full_buffers_drains_in_time(trial, report):
    """Most workers are stopped by SIGTERM: each must end within its deadline and leave nothing for
    which its successor has to wait."""
    trial.feed(150_000, rate_per_s=None)
    first = trial.worker(commit_interval_s=5, fetch_max_records=20_000)
    await first.ready()
    await trial.until_read(20_000)
    first.send(signal.SIGTERM)
    assert await first.ended() == 0, first.tail()
    assert first.said("drain_unfinished") == 0
    trial.worker()
    await trial.recovered()
    report(await trial.exact("SIGTERM with full buffers"))


async def test_a_worker_leaves_in_time_soon_after_a_crash(trial, report):
    """Kafka keeps a crashed member until its session expires; a leave must not wait for that."""
    crashed = trial.worker()
    await crashed.ready()
    trial.feed(40_000)
    await trial.until_read(5000)
    crashed.kill()
    second = trial.worker(drain_timeout_s=5)
    await second.ready()
    second.send(signal.SIGTERM)
    assert await second.ended(15) == 0, second.tail()
    trial.worker()
    report(await trial.exact("SIGTERM soon after a crash"))
