"""`dia capacity` on real shards that hold some weeks of load."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from streams import cli
from streams.connect.sinks import schema
from streams.core.rows.operational_tables import LOAD_HISTORY, OPERATIONAL, USAGE_HISTORY
from streams.core.settings import Settings
from streams.dev.local.status import StackStatus
from streams.dev.workload.load_shape import LoadShape

pytestmark = pytest.mark.stack

DATABASE = "capacity"
SLOT_S = 300
COST_S = 0.0001
"""processor time of an event"""


@pytest.fixture(scope="module")
def shards(stack: StackStatus) -> Iterator[dict[str, Any]]:
    """The settings of a database of its own, with three weeks of load up to now on two shards."""
    given = {
        "clickhouse_shards": ",".join(stack.shards),
        "clickhouse_user": stack.clickhouse_user,
        "clickhouse_password_file": stack.clickhouse_password_file,
        "clickhouse_database": DATABASE,
    }
    servers = schema.servers(Settings(**given), OPERATIONAL)
    slots = LoadShape(1, days=21, outage=None, launch=None).slots().tolist()
    first_s = int(time.time()) // SLOT_S * SLOT_S - SLOT_S * len(slots)
    for part, server in enumerate(servers):
        server.migrator.apply()
        # A run is shown by the commit of the next interval.
        rows = ",".join(
            f"('dia-group', 'aggregate_metrics', 'model.metrics', {part}, {at}, {at + 1}, 't', "
            f"{first_s + SLOT_S * at}, {events // 2}, {100 * events}, 0, 1, '{first_s + SLOT_S * (at + 1)}.000')"
            for at, events in enumerate(slots)
        )
        columns = "(grp, agent, topic, part, from_offset, to_offset, tenant, w, events, bytes, epoch, ver, at)"
        used = np.concatenate([[0], np.cumsum(np.array(slots) // 2)]) * COST_S
        samples = ",".join(
            f"('dia-group', 'aggregate_metrics', 'model.metrics', {part}, {first_s + SLOT_S * at}, "
            f"'w-{part}', '{first_s}.000', {cpu_s}, 1000000, 1)"
            for at, cpu_s in enumerate(used.tolist())
        )
        sampled = "(grp, agent, topic, part, w, process, started, cpu_s, memory_bytes, ver)"
        inserts = ((LOAD_HISTORY, columns, rows), (USAGE_HISTORY, sampled, samples))
        # A repeated insert is a row of the same key and version.
        for table, names, values in (*inserts, *inserts):
            server.replica.command(
                f"INSERT INTO {DATABASE}.{table.name}_local {names} VALUES {values}"
            )

    yield given
    for server in servers:
        server.replica.command(f"DROP DATABASE {DATABASE}")
        server.replica.close()


@pytest.fixture
def dia(shards: dict[str, Any], tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Any:
    """Run a command on these shards."""
    monkeypatch.setenv("DIA_HOME", str(tmp_path))
    for name, value in shards.items():
        monkeypatch.setenv(f"DIA_{name.upper()}", value)

    def run(*args: str) -> tuple[int, list[dict[str, Any]], str]:
        code = cli.main(("capacity", *args, "--json"))
        out, err = capsys.readouterr()
        return code, [json.loads(line) for line in out.splitlines()], err

    return run


def test_the_next_day_is_forecast_from_the_rows_of_every_shard(dia: Any) -> None:
    """The figures are events a second of all shards, each row once; the error is stated."""
    code, hours, err = dia("predict", "--hours", "24", "--worker-rate", "100")
    assert code == 0, err
    assert len(hours) == 24
    mean_per_s = sum(hour["events_per_s"] for hour in hours) / 24
    assert 150 < mean_per_s < 700
    assert all(hour["low"] <= hour["events_per_s"] <= hour["high"] for hour in hours)
    assert {hour["workers"] for hour in hours} <= {1, 2, 3, 4}
    code, of_one, err = dia("predict", "--hours", "24", "--tenant", "t")
    assert [hour["events_per_s"] for hour in of_one] == [hour["events_per_s"] for hour in hours]
    assert "no tenant" not in err
    code, days, err = dia("test", "--days", "5")
    assert code == 0, err
    assert len(days) == 5
    assert all(day["error"] < 0.3 for day in days)
    assert "same hours of last week" in err


def test_a_plan_multiplies_what_the_rows_say(dia: Any) -> None:
    """Costs and loads are of both shards' rows, each once, though all were inserted twice."""
    code, needs, err = dia("plan", "--growth", "10x", "--days", "7")
    assert code == 0, err
    found = {one["resource"]: one for one in needs}
    processors, busiest = found["processors at the peak"], found["events a second, busiest"]
    assert processors["now"] == pytest.approx(COST_S * busiest["now"], rel=0.2, abs=0.06)
    assert busiest["at_the_horizon"] == pytest.approx(10 * busiest["now"], rel=0.01)
    assert f" {1e6 * COST_S:.1f} µs of processor time an event" in err
    assert found["worker processes"]["have"] == 2
    assert found["memory of workers, bytes"]["now"] == 2_000_000


def test_an_agent_without_rows_is_refused(dia: Any) -> None:
    """A forecast of nothing would be zero, and an autoscaler would act on it."""
    code, _, err = dia("predict", "--agent", "nobody")
    assert code == 6
    assert "0 whole hours" in err
