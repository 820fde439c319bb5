"""Plans from figures that a history would hold, worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema_rs
import pytest
import yaml

from streams.core.command_errors import HistoryTooShort
from streams.core.errors import UsageError
from streams.operate.capacity.measured import costs_of
from streams.operate.capacity.plan import BUSY, Growth, capacity_plan
from streams.operate.capacity.prices import Prices

SCHEMA = Path(__file__).parents[4] / "ops/helm/dia/values.schema.json"
CHART = SCHEMA.with_name("values.yaml")
SLOT_S = 300
LOAD = [
    [("orders", 0, 30_000, 3_000_000), ("orders", 300, 60_000, 6_000_000)],
    [("orders", 300, 60_000, 6_000_000), ("orders", 600, 30_000, 3_000_000)],
]
READ = [[(0, 30_000), (300, 60_000)], [(300, 60_000), (600, 30_000)]]
USAGE = [
    [("w-0", 1, 10.0, 20.0, 0, 600, 1 << 28)],
    # A partition of the same process on another shard, and another process.
    [("w-0", 1, 12.0, 25.0, 300, 600, 1 << 27), ("w-1", 5, 1.0, 4.0, 300, 600, 1 << 26)],
]
DISK = [[(900_000, 90_000, 5e9)], [(900_000, 90_000, 4e9)]]


@pytest.fixture
def costs():
    return costs_of(LOAD, READ, USAGE, DISK)


def _needs(plan):
    return {one.resource: one for one in plan.needs}


def test_costs_are_of_this_pipeline(costs):
    """18 s of processor time between samples paid 150,000 events; processes count once."""
    assert costs.cpu_s_per_event == pytest.approx(18 / 150_000)
    assert (costs.events, costs.peak_per_s, costs.processes) == (180_000, 400, 2)
    orders = costs.topics["orders"]
    assert (orders.peak_per_s, orders.mean_per_s, orders.bytes_per_event) == (400, 200, 100)
    assert (costs.memory_bytes, costs.disk_bytes_per_event) == (1 << 28, 10)


def test_a_backlog_is_paid_by_the_time_in_which_it_was_read():
    """A new pipeline that first reads a week of records would cost ten times its price an event."""
    load = [[("orders", -86_400, 900_000, 1), ("orders", 0, 50_000, 1), ("orders", 300, 50_000, 1)]]
    read = [[(0, 500_000), (300, 500_000)]]
    usage = [[("w-0", 1, 0.0, 100.0, 0, 600, 1)]]
    assert costs_of(load, read, usage, DISK).cpu_s_per_event == pytest.approx(100 / 1_000_000)


def test_events_that_no_sampled_process_read_pay_nothing():
    """What was read before the first sample of a process took none of its counted time."""
    read = [[(0, 60_000), (300, 900_000), (600, 60_000)]]
    usage = [[("w-0", 1, 0.0, 10.0, 0, 300, 1), ("w-1", 2, 5.0, 15.0, 600, 900, 1)]]
    assert costs_of(LOAD, read, usage, DISK).cpu_s_per_event == pytest.approx(20 / 120_000)


def test_a_hundred_times_the_load_needs_what_its_cost_says(costs):
    """400/s at 120 µs, times 100, times a margin of 1.5, at 70 % of a processor: 10.3 processes."""
    plan = capacity_plan(costs, Growth.of("100x"), 90, {"orders": 4}, {"orders": 3600}, 1.5)
    needs = _needs(plan)
    assert plan.processes == 11
    assert plan.processes >= 400 * 100 * 1.5 * costs.cpu_s_per_event / BUSY
    assert needs["processors at the peak"].needed == pytest.approx(4.8)
    assert needs["partitions of orders"].have == 4
    assert needs["partitions of orders"].days_left == 0
    assert needs["kafka bytes of one copy"].now == pytest.approx(200 * 100 * 3600)
    assert needs["clickhouse bytes a day"].needed == pytest.approx(86_400 * 200 * 10 * 100)
    assert plan.partitions == {"orders": 11}
    assert plan.helm_values({"users": 12, "orders": 4})["config"] == {
        "topic_partitions": "users=12,orders=11"
    }


def test_a_topic_that_is_kept_for_ever_takes_bytes_each_day(costs):
    """Its retention is -1: times a rate that was less than nothing."""
    plan = capacity_plan(costs, Growth.of("10x"), 90, {"orders": 4}, {"orders": None}, 1.5)
    needs = _needs(plan)
    assert needs["kafka bytes of one copy"].now == 0
    for_ever = needs["kafka bytes a day of one copy, kept for ever"]
    assert (for_ever.now, for_ever.needed) == pytest.approx((86_400 * 20_000, 864_000 * 20_000))
    assert "kept for ever" not in str(capacity_plan(costs, Growth(), 90, {}, {"orders": 1.0}))


def test_the_day_is_named_on_which_partitions_run_out(costs):
    """One process for each partition is the most that can work."""
    growth = Growth.of("100%")
    plan = capacity_plan(costs, growth, 360, {"orders": 4}, {}, 1.0)
    days = _needs(plan)["partitions of orders"].days_left
    assert 400 * growth.factor(days) * costs.cpu_s_per_event / BUSY == pytest.approx(4)
    steady = capacity_plan(costs, Growth.of("1x"), 360, {"orders": 4}, {}, 1.0)
    assert _needs(steady)["partitions of orders"].days_left is None
    assert steady.partitions == {}


def test_the_day_is_named_on_which_a_disk_is_full(costs):
    """172.8 MB a day, and the fuller of two shards has 4 GB left: a shard that is full holds up its rows."""
    per_day, free = 86_400 * 200 * 10, 8e9
    for text in ("1x", "3x", "30%"):
        growth = Growth.of(text)
        need = _needs(capacity_plan(costs, growth, 90, {}, {}))["bytes of ClickHouse's disks"]
        assert (need.now, need.have) == (pytest.approx(90 * per_day), free)
        assert need.needed == pytest.approx(growth.load_days(90) * per_day)
        # Day by day, the load of its noon.
        days = int(need.days_left)
        written = sum(growth.factor(day + 0.5) for day in range(days)) * per_day
        assert written <= free * 1.001
        assert written + growth.factor(days + 0.5) * per_day >= free * 0.999
    nothing = costs_of(LOAD, READ, USAGE, [[(0, 90_000, 5e9)]])
    need = _needs(capacity_plan(nothing, Growth(), 90, {}, {}))["bytes of ClickHouse's disks"]
    assert need.days_left is None


def test_helm_values_fit_the_chart(costs):
    """They are given to `helm upgrade -f` as they are."""
    plan = capacity_plan(costs, Growth.of("100x"), 90, {"orders": 4}, {}, 1.5)
    values = plan.helm_values({})
    assert values["config"] == {"topic_partitions": "orders=11"}
    # 256 MiB were seen; a process at 70 % of its processor reads 0.7 / 120 µs.
    assert values["resources"]["requests"] == {"memory": "320Mi"}
    assert values["autoscaling"]["lag"]["predicted"] == {"eventsPerWorker": 5833}
    schema = json.loads(SCHEMA.read_text())
    schema.pop("required", None)
    assert [*jsonschema_rs.validator_for(schema).iter_errors(values)] == []
    assert [*jsonschema_rs.validator_for(schema).iter_errors({"autoscaling": {"maxReplicas": "x"}})]


def test_a_small_plan_has_as_many_replicas_as_the_chart_asks_for_at_least(costs):
    """Kubernetes refuses an autoscaler whose most is below its fewest."""
    plan = capacity_plan(costs, Growth.of("1x"), 90, {"orders": 4}, {}, 1.5)
    fewest = yaml.safe_load(CHART.read_text())["autoscaling"]["minReplicas"]
    assert plan.processes < fewest
    assert plan.helm_values({})["autoscaling"]["maxReplicas"] == fewest


@pytest.mark.parametrize("usage", [[], [[("w-0", 1, 10.0, 11.0, 0, 600, 1)]]])
def test_too_few_samples_are_refused(usage):
    """A cost from a second of processor time would be multiplied by ten."""
    with pytest.raises(HistoryTooShort, match="processor time"):
        costs_of(LOAD, READ, usage, DISK)


@pytest.mark.parametrize("text", ["10", "-1x", "0x", "x", "30 %", "1e3x"])
def test_growth_is_a_factor_or_a_percentage(text):
    """`10` could be either."""
    with pytest.raises(UsageError, match="--growth"):
        Growth.of(text)


def test_prices_are_the_operators_own(tmp_path):
    """A wrong name would cost nothing, in silence."""
    path = tmp_path / "prices.toml"
    path.write_text('currency = "EUR"\nprocessor_hour = 0.1\nmemory_gb_hour = 0.01\n')
    assert Prices.read(path).of_processes(2, 10e9) == pytest.approx(2 * 0.2 * 730)
    for wrong in ("processor = 1", "processor_hour = -1", "processor_hour = 'x'", "["):
        path.write_text(wrong)
        with pytest.raises(UsageError, match=r"prices\.toml"):
            Prices.read(path)
