"""The scheduled forecast: what its process says, and the gauges of the leader."""

from __future__ import annotations

import pytest

from streams.core.clock import VirtualClock
from streams.core.errors import JobProcessFailed
from streams.core.settings import Settings
from streams.core.telemetry.metrics import Metrics
from streams.engine.schedule.job import Findings
from streams.engine.schedule.scheduled_forecast import read_forecast, scheduled_forecast

HOUR_MS = 3_600_000


def test_autoscalers_see_the_hours_ahead_and_never_an_old_forecast():
    """A forecast that is not renewed must end, not hold a size for ever."""
    clock, metrics = VirtualClock(100 * HOUR_MS), Metrics()
    job = scheduled_forecast(Settings(forecast_interval_s=3600), clock, metrics)

    def predicted(horizon):
        name, labels = "dia_predicted_events_per_second", {"horizon": horizon}
        return metrics.registry.get_sample_value(name, labels)

    job.show(None, True)
    assert (predicted("1h"), predicted("24h")) == (0, 0)
    high = [float(hour) for hour in range(1, 49)]
    found = Findings(0, {"from_ms": 100 * HOUR_MS, "high_per_s": high})
    job.show(found, True)
    assert (predicted("1h"), predicted("24h")) == (2, 25)
    clock.jump_wall(40 * HOUR_MS)
    assert (predicted("1h"), predicted("24h")) == (42, 48)
    clock.jump_wall(8 * HOUR_MS)
    assert (predicted("1h"), predicted("24h")) == (0, 0)
    job.show(found, False)
    assert predicted("24h") == 0


def test_only_a_command_that_ended_well_counts():
    """Without the extra, or with a short history, the command ends with an error."""
    said = b'{"from_ms": 5, "high_per_s": [1.5, 2.5], "seasons": "daily"}'
    assert read_forecast(0, said, b"").detail == {"from_ms": 5, "high_per_s": [1.5, 2.5]}
    for code, report in ((6, said), (0, b""), (0, b'{"from_ms": 5}')):
        with pytest.raises(JobProcessFailed, match="the history has 3 whole hours"):
            read_forecast(code, report, b"talk\nthe history has 3 whole hours")
