"""Grafana's alert rules are Prometheus's, and fire for the same series."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import yaml

FOLDER = Path(__file__).parents[3] / "ops" / "grafana"

_spec = importlib.util.spec_from_file_location("dia_grafana_alerting", FOLDER / "alerting.py")
alerting = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(alerting)


def _committed():
    return yaml.safe_load((FOLDER / "alerting" / "dia-alerts.yaml").read_text())


def _rules():
    return [rule for group in _committed()["groups"] for rule in group["rules"]]


def test_the_committed_file_is_rendered_from_the_rules():
    """Run python ops/grafana/alerting.py after a change of ops/prometheus/rules."""
    assert (FOLDER / "alerting" / "dia-alerts.yaml").read_text() == alerting.text()


def test_each_alert_of_prometheus_is_there_once(rules):
    """Grafana refuses a file in which two rules have one uid, or one title; the title becomes `alertname`."""
    alerts = [rule for rule in rules if "alert" in rule]
    assert len({r["uid"] for r in _rules()}) == len({r["title"] for r in _rules()}) == len(alerts)
    waits = sorted((a["alert"], a.get("for", "0s"), a.get("keep_firing_for", "")) for a in alerts)
    assert waits == sorted((r["title"], r["for"], r.get("keepFiringFor", "")) for r in _rules())


def test_a_rule_fires_for_each_series_whatever_its_value(known, missing):
    """`dia_health == 0` gives series of the value 0, which a threshold on the value itself would not see."""
    for rule in _rules():
        a, b, c = rule["data"]
        expression = a["model"]["expr"].replace("$$", "$")
        assert b["model"]["expr"].replace("$$", "$") == f"group without () ({expression})"
        assert missing(b["model"]["expr"].replace("$$", "$"), known) == set()
        assert (c["model"]["expression"], rule["condition"]) == ("B", "C")
        assert a["model"]["instant"]


def test_templates_survive_the_reading_of_variables():
    """Grafana replaces $labels in a provisioned file by a variable of its environment: nothing."""
    said = [text for rule in _rules() for text in rule["annotations"].values()]
    assert any("$$labels" in text for text in said)
    assert any("$$values.A.Value" in text for text in said)
    assert not any(re.search(r"(?<!\$)\$(?!\$)", text) for text in said)


def test_rules_ask_the_data_source_that_compose_provisions(root):
    """A uid that does not exist ends each evaluation with an error."""
    file = root / "docker/grafana/provisioning/datasources/datasources.yaml"
    uids = {one["type"]: one["uid"] for one in yaml.safe_load(file.read_text())["datasources"]}
    asked = {datum["datasourceUid"] for rule in _rules() for datum in rule["data"]}
    assert asked == {uids["prometheus"], "__expr__"}
