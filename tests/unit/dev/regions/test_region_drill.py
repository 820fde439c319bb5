"""What a drill of a lost region says, and its processes get."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streams.core.types import TopicPartition
from streams.dev.local.regions import write_regions
from streams.dev.local.stack import StackStatus
from streams.dev.regions.local_region import LocalRegion
from streams.dev.regions.region_drill import RPO_AIM_S, RTO_AIM_S, RegionDrillResult
from streams.operate.regions.declared import require_regions
from streams.operate.regions.mirrored import Unmirrored

GOOD = RegionDrillResult(
    began_ms=5,
    events=12_000,
    rto_s=40.0,
    failover_s=33.0,
    rpo_s=1.5,
    unmirrored=(Unmirrored("east", TopicPartition("model.metrics", 3), 70, 90, 20, 4),),
    failback_s=8.0,
    accepted={"east": 9000, "west": 3000},
    lost={"east": 0, "west": 0},
    doubled={"east": 0, "west": 0},
)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"lost": {"east": 0, "west": 2}}, "2 events lost in west"),
        ({"doubled": {"east": 1, "west": 0}}, "1 events doubled in east"),
        ({"rto_s": RTO_AIM_S + 1}, "RTO 901 s is above 900 s"),
        ({"rpo_s": RPO_AIM_S + 1}, "RPO 301 s is above 300 s"),
    ],
)
def test_a_drill_that_misses_an_aim_is_not_a_good_one(changed, why):
    """A bad one must leave the age of the last good one."""
    assert GOOD.faults == []
    assert replace(GOOD, **changed).faults == [why]


def stack(home, port):
    return StackStatus(
        home=home,
        running=True,
        kafka_bootstrap=f"127.0.0.1:{port}",
        shards=("http://127.0.0.1:1",),
        redis_url="redis://127.0.0.1:2",
    )


def test_the_processes_of_a_drilled_region_take_no_address_of_the_operator(tmp_path, monkeypatch):
    """A drill loses its regions: it must never reach those that serve."""
    for name in ("KAFKA_BOOTSTRAP", "REGION", "REGIONS_FILE", "KAFKA_USERNAME", "BACKUP_TO"):
        monkeypatch.setenv(f"DIA_{name}", "of the operator")
    file = tmp_path / "regions.toml"
    stacks = {"east": stack(tmp_path / "e", 19001), "west": stack(tmp_path / "w", 19002)}
    write_regions(file, 7, stacks)
    east = LocalRegion("east", stacks["east"], tmp_path / "east", file, {"idle_close_s": "3"})
    assert "of the operator" not in east.environ.values()
    assert (east.settings.kafka_bootstrap, east.settings.idle_close_s) == ("127.0.0.1:19001", 3)
    regions = require_regions(east.settings)
    assert (regions.own, regions.others, regions.lease_s) == ("east", ["west"], 7)
    assert regions.region("west").bootstrap == "127.0.0.1:19002"
