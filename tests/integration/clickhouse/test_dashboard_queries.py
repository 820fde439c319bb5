"""Every SQL statement of dashboards and runbooks runs on the engine and counts each row once."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from streams.connect.sinks import arrow
from streams.connect.sinks.clickhouse import shard_replicas

OPS = Path(__file__).parents[3] / "ops"
BOARD = yaml.safe_load((OPS / "grafana/boards/dia-business.yaml").read_text())
PANELS = [panel for row in BOARD["rows"] for panel in row["panels"]]
IN_RUNBOOKS = sorted(
    {
        shlex.split(line)[3]
        for path in (OPS / "runbooks").glob("*.md")
        for line in path.read_text().splitlines()
        if line.startswith("dia query sql")
    }
)
TENANT, OTHER = "it's a tenant", "other"


@pytest.fixture(scope="module")
def filled(settings, minutes_of, yesterday):
    """An hour of two tenants; the first one's minutes are inserted twice, the second time as a
    newer version."""
    values = np.random.default_rng(7).normal(100, 10, 6000)
    start_s = yesterday()
    rows = minutes_of(TENANT, start_s, values, 0)
    ((replica,), _) = shard_replicas(settings)
    for table in ("m1_local", "h1_local"):
        replica.insert(table, arrow.table([rows]))
        replica.insert(table, arrow.table([minutes_of(OTHER, start_s, values, 0)]))
    newer = replace(rows, ver=rows.ver + np.uint64(1_000_000))
    replica.insert("m1_local", arrow.table([newer]))
    yield start_s, values
    replica.close()


def _filled_in(sql, database, start_s, table="m1"):
    """The statement as Grafana's plugin would send it."""
    until_s = start_s + 86_400
    tenant = TENANT.replace("'", "\\'")
    sql = re.sub(r"\$__timeInterval\((\w+)\)", r"toStartOfInterval(\1, INTERVAL 3600 second)", sql)
    sql = re.sub(
        r"\$__timeFilter\((\w+)\)",
        rf"\1 >= toDateTime({start_s}) AND \1 <= toDateTime({until_s})",
        sql,
    )
    for name, value in {
        "${table}": f"{database}.{table}",
        "${database}": database,
        "${tenant:singlequote}": f"'{tenant}'",
        "${metric:singlequote}": "'k'",
        "${model:singlequote}": "'m'",
    }.items():
        sql = sql.replace(name, value)
    assert "$" not in sql
    return sql


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_runs(panel, filled, settings, servers):
    """A migration that renames a column must not empty a panel silently."""
    start_s, _ = filled
    for table in ("m1", "h1", "d1"):
        sql = _filled_in(panel["sql"], settings.clickhouse_database, start_s, table)
        found = servers[0].replica.columns(sql)  # an empty answer has columns, too
        assert found.column_names[0] in {"time", "grp"}


@pytest.mark.parametrize("name", ["tenant", "metric", "model"])
def test_a_variable_runs(name, filled, settings, servers):
    """The offered choices are the stored values."""
    sql = _filled_in(BOARD["variables"][name], settings.clickhouse_database, filled[0])
    _, rows = servers[0].replica.query(sql)
    expected = {"tenant": {TENANT, OTHER}, "metric": {"k"}, "model": {"m"}}[name]
    assert {row[0] for row in rows} >= expected


def test_figures_are_exact_although_rows_were_inserted_twice(filled, settings, servers):
    """A sum over versions instead of windows would double the count."""
    start_s, values = filled
    by_title = {panel["title"]: panel["sql"] for panel in PANELS}

    def ask(title):
        sql = _filled_in(by_title[title], settings.clickhouse_database, start_s)
        return servers[0].replica.query(sql)[1]

    ((_, model, count),) = ask("Count")
    assert (model, count) == ("m", len(values))
    ((_, _, mean, deviation),) = ask("Mean and deviation")
    assert mean == pytest.approx(values.mean())
    assert deviation == pytest.approx(values.std())
    ((_, p50, p95, p99),) = ask("Percentiles")
    assert [p50, p95, p99] == pytest.approx(np.percentile(values, [50, 95, 99]), rel=0.011)
    assert sum(row[2] for row in ask("Distribution")) == len(values)


def test_no_statement_applies_final_to_a_view():
    """A view ignores FINAL silently; dia's views contain it."""
    assert not any("FINAL" in panel["sql"] for panel in PANELS)
    assert not any("_local" in panel["sql"] for panel in PANELS)


@pytest.mark.parametrize("sql", IN_RUNBOOKS)
def test_a_runbook_query_runs(sql, filled, dia):
    """An operator pastes it during an incident without changes."""
    code, _, said = dia("query", "sql", sql)
    assert code == 0, said
