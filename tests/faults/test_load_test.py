"""The example load test against a stack of which one shard is slowed, and against the same stack
when it is not."""

from __future__ import annotations

import pytest

from tests.faults.load_test_stage import load_test_stage
from tests.faults.report import Finding
from tests.faults.shard_proxy import Weather

DURATION_S = 30
SCALE = 0.01
"""1,500 metrics a second"""
SLOW_S = 15.0
"""above the example's bound of freshness, and below the deadline of an insert"""


@pytest.mark.once
@pytest.mark.timeout(600)
async def test_a_slowed_shard_fails_the_example_load_test(trial, proxies, report, tmp_path):
    """A load test that passes on a stack with a slow shard would let it into production."""
    worker = trial.worker(agents="all", sink_timeout_s=60, pool_processes=1)
    await worker.ready()
    with load_test_stage(trial, tmp_path) as stage:
        sound = await stage.run(seconds=DURATION_S, scale=SCALE)
        assert (sound.exit_code, sound.failed) == (0, []), sound.said
        assert "thresholds failed." not in sound.page
        proxies[1].delay_s, proxies[1].weather = SLOW_S, Weather.SLOW
        slowed = await stage.run(seconds=DURATION_S, scale=SCALE)
        proxies[1].weather = Weather.FAIR
    assert slowed.exit_code == 1, slowed.said
    assert "thresholds_failed" in slowed.said
    assert "probes: freshness p95" in slowed.failed
    assert "thresholds failed." in slowed.page
    assert worker.exit_code is None, worker.tail()
    await trial.settled()
    await trial.audited()
    note = f"the example at a scale of {SCALE:g}; red: {', '.join(slowed.failed)}"
    events = sound.events + slowed.events
    report(
        Finding("a shard answers after 15 s, under the example load test", events, 0, 0, note=note)
    )
