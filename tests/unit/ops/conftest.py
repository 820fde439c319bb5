"""References for the files under ops/ and docker/: metrics, rules, and the repository."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client import CollectorRegistry

from streams.core.settings import meaning
from streams.core.telemetry.metrics import Metrics

ROOT = Path(__file__).parents[3]

FOREIGN = {
    "kubelet_volume_stats_available_bytes",  # > of Kubernetes
    "process_cpu_seconds_total",  # > of prometheus_client itself
    "process_resident_memory_bytes",
    "ALERTS",
}
SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("_total",), "info": ("_info",)}


def exposed(registry: CollectorRegistry) -> set[str]:
    """Names of every series that the registry exposes."""
    return {
        family.name + suffix
        for family in registry.collect()
        for suffix in SUFFIXES.get(family.type, ("",))
    }


def selected(expression: str) -> Iterator[promql_parser.VectorSelector]:
    """Every selector of a PromQL expression; ValueError if it does not parse."""
    waiting = [promql_parser.parse(re.sub(r"\$__\w+", "5m", expression))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, promql_parser.VectorSelector):
            yield node
        elif isinstance(node, promql_parser.MatrixSelector):
            waiting.append(node.vector_selector)
        elif isinstance(node, promql_parser.BinaryExpr):
            waiting += [node.lhs, node.rhs]
        elif isinstance(node, promql_parser.Call):
            waiting += node.args
        elif isinstance(node, promql_parser.NumberLiteral | promql_parser.StringLiteral):
            continue
        else:  # aggregations, parentheses, subqueries, signs
            waiting.append(node.expr)


def undeclared(expression: str, known: set[str]) -> set[str]:
    """Metrics of the expression that no component exposes and no rule records."""
    return {selector.name for selector in selected(expression)} - known


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def rules() -> list[dict[str, Any]]:
    """Every recording and alerting rule."""
    files = sorted((ROOT / "ops/prometheus/rules").glob("*.yaml"))
    groups = [group for path in files for group in yaml.safe_load(path.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"]]


@pytest.fixture(scope="session")
def known(rules: list[dict[str, Any]]) -> set[str]:
    """Metrics that exist: declared, recorded by a rule, or of a named third party."""
    recorded = {rule["record"] for rule in rules if "record" in rule}
    return exposed(Metrics().registry) | recorded | FOREIGN


@pytest.fixture(scope="session")
def metrics_of() -> Any:
    """Names of metrics in an expression."""
    return lambda expression: {selector.name for selector in selected(expression)}


@pytest.fixture(scope="session")
def missing() -> Any:
    return undeclared


@pytest.fixture(autouse=True)
def mounted(monkeypatch):
    """Secrets and certificates are mounted in containers only: their paths name no file here."""
    monkeypatch.setattr(meaning, "_wanted_file", lambda value: None)
