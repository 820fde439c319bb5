"""The scheduled backup: what its process says, and the age that the leader shows."""

from __future__ import annotations

import math

import pytest

from streams.core.clock import VirtualClock
from streams.core.errors import JobProcessFailed
from streams.core.settings import Settings
from streams.core.telemetry.metrics import Metrics
from streams.engine.schedule.job import Findings
from streams.engine.schedule.scheduled_backup import read_made, scheduled_backup


def test_the_age_grows_by_itself_and_is_infinite_where_none_is_known():
    """A job that fails must not leave an age behind that looks young."""
    clock, metrics = VirtualClock(10_000_000), Metrics()
    job = scheduled_backup(Settings(backup_to="s3://x/y"), clock, metrics)

    def age():
        return metrics.registry.get_sample_value("dia_backup_age_seconds")

    assert age() == 0
    job.show(None, True)
    assert age() == math.inf
    job.show(Findings(0, {"created": None, "newest_ms": None}), True)
    assert age() == math.inf
    job.show(Findings(0, {"created": "x", "newest_ms": 9_000_000}), True)
    assert age() == 1000
    clock.jump_wall(60_000)
    assert age() == 1060
    clock.jump_wall(-1_100_000)
    assert age() == math.inf, (
        "by a clock that was ahead: a backup that fails would look young for as long"
    )
    job.show(None, False)
    assert age() == 0


def test_only_a_command_that_ended_well_counts():
    """The exit code and its last line say why there is no newer backup."""
    assert read_made(0, b'{"created": "x", "newest_ms": 5}', b"").detail["newest_ms"] == 5
    for code, said in ((4, b""), (0, b""), (0, b"[]"), (1, b'{"created": "x", "newest_ms": 5}')):
        with pytest.raises(JobProcessFailed, match="no shard answers"):
            read_made(code, said, b"talk\nno shard answers")
