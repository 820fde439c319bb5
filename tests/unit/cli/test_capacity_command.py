"""`dia capacity plan` and `predict`, with figures in place of the shards' answers."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

from streams import cli
from streams.dev.workload.load_shape import LoadShape, hourly
from streams.operate.capacity import hourly_load, measured
from streams.operate.capacity.hourly_load import HOUR_S, HourlyLoad

LOAD = [[("model.metrics", 300 * slot, 30_000, 3_000_000) for slot in range(288)]]
READ = [[(300 * slot, 30_000) for slot in range(288)]]
USAGE = [
    [(f"w-{number}", 1, 0.0, 500.0, 0, 86_400, 1 << 28) for number in range(3)],
]
DISK = [[(8_640_000, 8_640_000, 1e9)]]


@pytest.fixture
def dia(tmp_path, monkeypatch, capsys):
    """Run a command; gives exit code, stdout and stderr."""
    monkeypatch.setenv("DIA_HOME", str(tmp_path))

    async def costs(settings, now_s, days):
        return measured.costs_of(LOAD, READ, USAGE, DISK)

    async def load(settings, now_s, agent, tenant):
        events = hourly(LoadShape(1, days=5, outage=None, launch=None).slots())
        start_s = int(time.time()) // HOUR_S * HOUR_S - HOUR_S * len(events)
        return HourlyLoad(start_s, events, np.zeros(len(events)), 0.25 if tenant else 0.0)

    monkeypatch.setattr(measured, "measured_costs", costs)
    monkeypatch.setattr(hourly_load, "hourly_load", load)

    def run(*args):
        code = cli.main(("capacity", *args))
        return code, *capsys.readouterr()

    return run


def test_a_plan_names_each_resource_and_what_can_be_saved(dia, tmp_path):
    """100/s at 174 µs keep one of the three processes a sixth busy."""
    prices = tmp_path / "prices.toml"
    prices.write_text('currency = "EUR"\nprocessor_hour = 0.1\n')
    code, out, err = dia("plan", "--growth", "10x", "--prices", str(prices), "--json")
    assert code == 0, err
    rows = {row["resource"]: row for row in map(json.loads, out.splitlines())}
    assert rows["events a second, busiest"]["at_the_horizon"] == 1000
    assert rows["worker processes"] == {
        "resource": "worker processes",
        "now": 1,
        "at_the_horizon": 1,
        "have": 3,
        "days_left": None,
    }
    assert rows["partitions of model.metrics"]["have"] == 4
    month = {name: rows["workers a month, EUR"][name] for name in ("now", "at_the_horizon", "have")}
    assert month == {"now": 73, "at_the_horizon": 73, "have": 219}
    shards = rows["clickhouse shards"]
    assert (shards["now"], shards["at_the_horizon"], shards["have"]) == (3, 3, 1)
    assert "2 processes fewer would do, and save 146 EUR a month" in err


def test_helm_values_are_all_of_stdout(dia):
    """They are redirected into a file."""
    code, out, err = dia("plan", "--growth", "100x", "--helm")
    assert code == 0, err
    values = json.loads(out)
    assert values["autoscaling"]["maxReplicas"] == 4
    assert "config" not in values
    code, out, _ = dia("plan", "--growth", "30%", "--horizon", "720d", "--margin", "3", "--helm")
    assert json.loads(out)["config"]["topic_partitions"].startswith("model.metrics=")


def test_helm_values_keep_the_partitions_that_the_settings_name(dia, monkeypatch):
    """Helm replaces the whole value: a topic that is left out would go back to its default."""
    monkeypatch.setenv("DIA_TOPIC_PARTITIONS", "train.results=12")
    code, out, err = dia("plan", "--growth", "1000x", "--helm")
    assert code == 0, err
    named = json.loads(out)["config"]["topic_partitions"].split(",")
    assert "train.results=12" in named
    assert [one.partition("=")[0] for one in named] == ["train.results", "model.metrics"]
    assert int(named[1].partition("=")[2]) > 4


def test_a_summary_has_the_hours_of_the_gauges(dia):
    """The scheduled forecast reads it."""
    code, out, err = dia("predict", "--hours", "48", "--summary", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert len(found["high_per_s"]) == 48
    assert abs(found["from_ms"] / 1000 - time.time()) < 2 * HOUR_S
    assert found["seasons"] == "daily"
    assert "days of the week show from 360 hours on" in err


def test_a_tenants_load_says_what_it_may_lack(dia):
    """The history names a partition's largest tenants: a smaller one's hours are partial."""
    for command in ("predict", "test"):
        code, _, err = dia(command, "--tenant", "acme")
        assert code == 0, err
        assert "no tenant for 25.0% of the events" in err
        assert "no tenant" not in dia(command)[2]


def test_unlimited_retention_is_no_negative_size(dia, monkeypatch):
    """`DIA_TOPIC_RETENTION_S` -1 keeps all."""
    monkeypatch.setenv("DIA_TOPIC_RETENTION_S", "model.metrics=-1")
    code, out, err = dia("plan", "--json")
    assert code == 0, err
    rows = {row["resource"]: row["now"] for row in map(json.loads, out.splitlines())}
    assert min(rows.values()) >= 0
    assert rows["kafka bytes a day of one copy, kept for ever"] == 86_400 * 100 * 100


@pytest.mark.parametrize(
    "grown",
    [("1000%", "36500d"), ("100%", "99999d"), ("9" * 400 + "x", "90d"), ("9" * 400 + "%", "90d")],
)
def test_a_growth_beyond_all_numbers_is_refused(dia, grown):
    """It ended as an unexpected error."""
    code, _, err = dia("plan", "--growth", grown[0], "--horizon", grown[1])
    assert code == 2
    assert "shorter --horizon" in err
