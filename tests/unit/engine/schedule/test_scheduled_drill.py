"""The scheduled drill: what its process says, and the ages that the leader shows."""

from __future__ import annotations

import math

import msgspec
import pytest

from streams.core.clock import VirtualClock
from streams.core.errors import JobProcessFailed
from streams.core.settings import Settings
from streams.core.telemetry.metrics import Metrics
from streams.engine.schedule.job import Findings
from streams.engine.schedule.scheduled_drill import PROCEDURES, read_drilled, scheduled_drill


def test_each_procedure_has_an_age_and_none_is_infinite():
    """A drill that was never made must not look as if one had gone well."""
    clock, metrics = VirtualClock(10_000_000), Metrics()
    job = scheduled_drill(Settings(backup_to="s3://x/y"), clock, metrics)

    def age(procedure):
        return metrics.registry.get_sample_value("dia_drill_age_seconds", {"procedure": procedure})

    job.show(None, True)
    assert (age("shard"), age("backup")) == (math.inf, math.inf)
    job.show(Findings(0, {**dict.fromkeys(PROCEDURES), "shard": 9_000_000}), True)
    clock.jump_wall(60_000)
    assert (age("shard"), age("backup")) == (1060, math.inf)
    clock.jump_wall(-1_100_000)
    assert age("shard") == math.inf, "by a clock that was ahead"
    job.show(None, False)
    assert (age("shard"), age("backup")) == (0, 0)


@pytest.mark.parametrize(
    ("procedure", "given", "age_s"),
    [
        ("region", {}, 0),
        ("region", {"region": "east"}, math.inf),
        ("replica", {"clickhouse_shards": "http://a:1,http://b:1"}, 0),
        ("replica", {"clickhouse_shards": "http://a:1|http://b:1"}, math.inf),
    ],
)
def test_a_drill_is_missed_only_where_it_can_be_made(procedure, given, age_s):
    """One region alone, and shards of one replica, have no drill to make, and its alert must not fire."""
    metrics = Metrics()
    settings = Settings(backup_to="s3://x/y", clickhouse_cluster="dia", **given)
    scheduled_drill(settings, VirtualClock(10_000_000), metrics).show(None, True)
    asked = ("dia_drill_age_seconds", {"procedure": procedure})
    assert metrics.registry.get_sample_value(*asked) == age_s


def test_only_a_command_that_ended_well_counts():
    """A drill that found a difference leaves the age of the last good one."""
    newest_ms = {**dict.fromkeys(PROCEDURES), "shard": 5, "region": 7}
    said = msgspec.json.encode({"done": None, "newest_ms": newest_ms})
    assert read_drilled(0, said, b"").detail == newest_ms
    for code, report in ((1, said), (0, b""), (0, b'{"newest_ms": {"shard": 5}}')):
        with pytest.raises(JobProcessFailed, match="would not come back whole"):
            read_drilled(code, report, b"talk\nwould not come back whole")
