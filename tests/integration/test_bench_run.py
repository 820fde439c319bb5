"""A small bench on the real stack: all its figures come from a run whose results were exact."""

from __future__ import annotations

import json
import pstats

import pytest

from streams.cli import main
from streams.dev.local.stack import status


@pytest.fixture(autouse=True)
def _own_stack(monkeypatch, tmp_path):
    for variable in ("DIA_KAFKA_BOOTSTRAP", "DIA_CLICKHOUSE_SHARDS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("DIA_HOME", str(tmp_path))


def _run(tmp_path, capsys, *options: str) -> dict:
    argv = ["bench", "run", *options, "--output", str(tmp_path / "results"), "--json"]
    assert main(argv) == 0
    assert not status(tmp_path / "bench").running
    [outcome] = json.loads(capsys.readouterr().out)["outcomes"]
    assert outcome["exact"] is True
    return outcome


@pytest.mark.long
@pytest.mark.stack
def test_a_small_run_is_exact_and_measures_its_parts(tmp_path, capsys):
    """Throughput, floor and both restarts; every window is compared after the last restart."""
    outcome = _run(tmp_path, capsys, "--workload", "wide", "--events", "20000")
    assert outcome["throughput"]["events_per_s"] > 0
    assert outcome["throughput"]["rows"] > 10_000
    assert outcome["floor"]["events"] >= 20_000
    assert outcome["restart"]["ids"] > 15_000
    assert outcome["restart"]["window_rows"] > 10_000
    assert {"worker-0", "kafka", "clickhouse-0", "clickhouse-1"} <= {
        cost["name"] for cost in outcome["processes"]
    }


@pytest.mark.long
@pytest.mark.stack
def test_a_paced_run_sees_every_probe(tmp_path, capsys):
    """Freshness is known only if no timed event was lost."""
    profile = tmp_path / "profile"
    options = (
        "--workload",
        "narrow",
        "--rate",
        "2000",
        "--seconds",
        "4",
        "--profile",
        str(profile),
    )
    outcome = _run(tmp_path, capsys, *options)
    assert outcome["freshness"]["probes"] == 200
    assert outcome["freshness"]["max_s"] >= outcome["freshness"]["p50_s"] > 0
    functions = {name for _, _, name in pstats.Stats(str(tmp_path / "profile.0.pstats")).stats}
    assert "commit" in functions
