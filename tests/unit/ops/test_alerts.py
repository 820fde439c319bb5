"""Alerts: they fire exactly when they should, read existing metrics, and describe the next action."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from prometheus_client import generate_latest

from streams.core.telemetry.metrics import Metrics
from tests.unit.ops.conftest import selected

OPS = Path(__file__).parents[3] / "ops"
FILES = sorted((OPS / "prometheus/tests").glob("*.yaml"))
LABEL = re.compile(r"\$labels\.(\w+)")


@pytest.fixture(scope="session")
def promtool():
    """Prometheus's own checker of rules, fetched by `make check`; no Python package has it."""
    beside = Path(sys.prefix) / "bin" / "promtool"
    found = str(beside) if beside.exists() else shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is missing: run ops/prometheus/fetch.sh .venv/bin promtool")
    return found


def _promtool(program, *arguments):
    done = subprocess.run(
        [program, *map(str, arguments)], capture_output=True, text=True, timeout=200, check=False
    )
    return done.returncode, done.stdout + done.stderr


def _alerts(rules):
    return [rule for rule in rules if "alert" in rule]


def test_rules_are_well_formed(promtool):
    """An invalid file would make Prometheus refuse its whole configuration."""
    files = sorted((OPS / "prometheus/rules").glob("*.yaml"))
    code, said = _promtool(promtool, "check", "rules", "--lint=all", "--lint-fatal", *files)
    assert code == 0, said


def _of_one_alert(path, folder):
    """The cases of ``path`` as a file for each alert, beside a file of its rule and the rules it
    reads: otherwise promtool evaluates every rule of the file in every case.
    """
    cases = yaml.safe_load(path.read_text())
    (named,) = cases["rule_files"]
    groups = yaml.safe_load((path.parent / named).read_text())["groups"]
    for name in sorted({_alert_of(case) for case in cases["tests"]}):
        wanted = _read_by(name, [rule for group in groups for rule in group["rules"]])
        left = [
            {**group, "rules": [rule for rule in group["rules"] if _name(rule) in wanted]}
            for group in groups
        ]
        rules, found = folder / f"{name}.rules.yaml", folder / f"{name}.yaml"
        rules.write_text(yaml.safe_dump({"groups": left}))
        own = [case for case in cases["tests"] if _alert_of(case) == name]
        found.write_text(yaml.safe_dump({**cases, "rule_files": [rules.name], "tests": own}))
        yield found


def _read_by(name, rules):
    """``name`` and the rules whose series it reads, directly or indirectly."""
    wanted, waiting = set(), [name]
    while waiting:
        read = waiting.pop()
        found = [rule for rule in rules if _name(rule) == read and read not in wanted]
        wanted |= {_name(rule) for rule in found}
        waiting += [one.name for rule in found for one in selected(rule["expr"])]
    return wanted


def _name(rule):
    return rule.get("alert") or rule["record"]


def _alert_of(case):
    return case["name"].partition(":")[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_alerts_fire_and_resolve(promtool, path, tmp_path):
    """Each alert is silent before its cause, fires during it, and resolves after it."""
    code, said = _promtool(promtool, "test", "rules", *_of_one_alert(path, tmp_path))
    assert code == 0, said


def test_a_wrong_threshold_is_detected(promtool, tmp_path):
    """The checker must be able to fail."""
    (tmp_path / "rules").mkdir()
    (tmp_path / "tests").mkdir()
    rules = (OPS / "prometheus/rules/causes.yaml").read_text()
    planted = rules.replace("dia_loop_heartbeat_timestamp_seconds > 60", "dia_nothing > 60")
    assert planted != rules
    (tmp_path / "rules/causes.yaml").write_text(planted)
    cases = yaml.safe_load((OPS / "prometheus/tests/causes.yaml").read_text())
    cases["tests"] = [case for case in cases["tests"] if case["name"].startswith("DiaHeartbeat")]
    (tmp_path / "tests/causes.yaml").write_text(yaml.safe_dump(cases))
    code, said = _promtool(promtool, "test", "rules", tmp_path / "tests/causes.yaml")
    assert code != 0
    assert "DiaHeartbeatStale" in said


def test_every_alert_has_cases(rules):
    """An alert that was never tested may not fire; one that never resolves will be switched off."""
    counts: dict[str, list[set[bool]]] = {}
    for path in FILES:
        for case in yaml.safe_load(path.read_text())["tests"]:
            name = _alert_of(case)
            fires = [bool(one["exp_samples"]) for one in case["promql_expr_test"]]
            assert all(f'"{name}"' in one["expr"] for one in case["promql_expr_test"])
            counts.setdefault(name, []).append((fires[0], any(fires), fires[-1]))
    for rule in _alerts(rules):
        assert (False, True, False) in counts[rule["alert"]], rule["alert"]
    assert set(counts) == {rule["alert"] for rule in _alerts(rules)}


def test_rules_read_metrics_that_exist(rules, known, missing):
    """A renamed metric would silence its alert."""
    assert {_name(rule): missing(rule["expr"], known) for rule in rules} == {
        _name(rule): set() for rule in rules
    }


def test_an_undeclared_metric_is_detected(known, missing):
    """The check must find such a metric at any place of an expression."""
    planted = "sum by (a) (rate(dia_recrods_total[5m])) > on (a) (dia_lag_records or -dia_gone)"
    assert missing(planted, known) == {"dia_recrods_total", "dia_gone"}


def test_alerts_state_what_where_and_how(rules):
    """An operator on call gets a sentence, the place, and a runbook."""
    for rule in _alerts(rules):
        notes = rule["annotations"]
        assert rule["alert"].startswith("Dia")
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert "$" not in notes["summary"]
        assert notes["summary"].endswith(".")
        assert notes["runbook_url"] == f"ops/runbooks/{rule['alert']}.md"
        for label in LABEL.findall(notes["description"]):
            assert label in rule["expr"] or label in {"slo", "instance"}, (rule["alert"], label)


def test_the_freshness_objective_is_an_existing_bucket(rules):
    """A quantile of a bucket that does not exist is always perfect."""
    metrics = Metrics()
    metrics.sink.freshness_seconds.observe(1)
    text = generate_latest(metrics.registry).decode()
    bounds = {bound for rule in rules for bound in re.findall(r'le="([^"]+)"', rule["expr"])}
    assert bounds
    for bound in bounds:
        assert f'dia_freshness_seconds_bucket{{le="{bound}"}}' in text
