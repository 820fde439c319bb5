"""Prometheus's alert rules as Grafana's: ``python ops/grafana/alerting.py`` writes alerting/dia-alerts.yaml.

For those whose alerts are managed by Grafana. A rule of Prometheus fires for each series that its expression
gives, whatever its value; Grafana compares a number. So B gives 1 for each series of A, and C is its threshold.
Recording rules stay in Prometheus, which the expressions ask.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent
RULES = FOLDER.parent / "prometheus" / "rules"
PROMETHEUS_UID = "dia-prometheus"
"""Of the data source; docker/grafana/provisioning names it so."""
RANGE_S = 600
INTERVAL = "1m"

Json = dict[str, Any]


def provisioning() -> Json:
    """The content of the file. ``$`` is doubled: Grafana reads it as the start of a variable."""
    return {"apiVersion": 1, "groups": [_literal(group) for group in _groups()]}


def text() -> str:
    return "# Written by ops/grafana/alerting.py from ops/prometheus/rules.\n" + yaml.safe_dump(
        provisioning(), sort_keys=False, width=1000, allow_unicode=True
    )


def _groups() -> Iterator[Json]:
    for path in sorted(RULES.glob("*.yaml")):
        for group in yaml.safe_load(path.read_text())["groups"]:
            alerts = [rule for rule in group["rules"] if "alert" in rule]
            if alerts:
                yield {
                    "orgId": 1,
                    "name": group["name"],
                    "folder": "dia",
                    "interval": INTERVAL,
                    "rules": [_rule(alert) for alert in alerts],
                }


def _rule(alert: Mapping[str, Any]) -> Json:
    expression = " ".join(alert["expr"].split())
    annotations = {
        name: said.replace("$value", "$values.A.Value")
        for name, said in alert["annotations"].items()
    }
    rule = {
        "uid": "dia-" + hashlib.sha256(alert["alert"].encode()).hexdigest()[:16],
        "title": alert["alert"],
        "condition": "C",
        "data": [
            _query("A", expression),
            _query("B", f"group without () ({expression})"),
            _threshold("C", "B"),
        ],
        "for": alert.get("for", "0s"),
        "noDataState": "OK",
        "execErrState": "Error",
        "labels": alert["labels"],
        "annotations": annotations,
    }
    kept = alert.get("keep_firing_for")
    return {**rule, "keepFiringFor": kept} if kept else rule


def _query(letter: str, expression: str) -> Json:
    return {
        "refId": letter,
        "relativeTimeRange": {"from": RANGE_S, "to": 0},
        "datasourceUid": PROMETHEUS_UID,
        "model": {"refId": letter, "expr": expression, "instant": True, "range": False},
    }


def _threshold(letter: str, of: str) -> Json:
    condition = {"evaluator": {"type": "gt", "params": [0]}}
    return {
        "refId": letter,
        "datasourceUid": "__expr__",
        "model": {
            "refId": letter,
            "type": "threshold",
            "expression": of,
            "conditions": [condition],
        },
    }


def _literal(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, list):
        return [_literal(item) for item in value]
    if isinstance(value, dict):
        return {name: _literal(item) for name, item in value.items()}
    return value


if __name__ == "__main__":
    (FOLDER / "alerting").mkdir(exist_ok=True)
    (FOLDER / "alerting" / "dia-alerts.yaml").write_text(text())
