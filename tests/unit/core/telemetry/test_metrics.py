"""The metrics of a process: names, labels, and gauges of a partition that leaves."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from streams.core.telemetry.declaring import PREFIX
from streams.core.telemetry.metrics import PARTITION_STATES, Metrics

ROOT = Path(__file__).parents[4]
BOUNDED_LABELS = {
    "topic", "partition", "group", "state", "table", "shard", "step", "code", "error_code", "le",
    "version", "dependency", "cache", "layer", "result", "cause", "route", "status",
    "by", "severity", "subject", "verdict", "quota", "reason", "sink", "outcome",
}  # fmt: skip


def _declared(metrics: Metrics):
    return [family for family in metrics.registry.collect() if family.name.startswith(PREFIX)]


def test_names_are_prefixed_unique_and_documented():
    """Dashboards and alerts use the names, users the help texts."""
    families = _declared(Metrics())
    names = [family.name for family in families]
    assert len(names) == len(set(names)) > 25
    assert all(family.documentation for family in families)


def test_labels_are_bounded():
    """A label with any value, such as a key or a message, would fill the metrics store."""
    metrics = Metrics(version="1")
    groups = (metrics.intake, metrics.commit, metrics.partition, metrics.state, metrics.sink,
              metrics.breaker, metrics.cache, metrics.edge, metrics.console, metrics.health,
              metrics.connections)  # fmt: skip
    labels = {label for group in groups for m in vars(group).values() for label in m._labelnames}
    assert labels
    assert labels <= BOUNDED_LABELS


def test_metrics_are_declared_in_one_package_only():
    """One place lists all metrics of the process."""
    makers = {"Counter", "Gauge", "Histogram", "Summary", "Info"}
    for path in ROOT.glob("[ast]*/**/*.py"):
        if path.parent == ROOT / "streams/core/telemetry" or "tests" in path.parts:
            continue
        if "prometheus_client" not in (source := path.read_text()):
            continue
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and node.module == "prometheus_client":
                assert not makers & {name.name for name in node.names}, path


def test_two_instances_are_independent():
    """A simulation runs several workers in one process."""
    one, two = Metrics(), Metrics()
    one.intake.records_read.labels("t", 0).inc(5)
    assert (
        two.registry.get_sample_value("dia_records_read_total", {"topic": "t", "partition": "0"})
        is None
    )


def _stopped_by(metrics, code):
    labels = {"topic": "t", "partition": "3", "code": code}
    return metrics.registry.get_sample_value("dia_partition_stopped", labels)


def test_a_partition_is_in_one_state_at_a_time():
    """The sum over states must be the number of partitions."""
    metrics = Metrics()
    for state in PARTITION_STATES:
        metrics.set_partition_state("t", 3, state)
        where = {
            name: metrics.registry.get_sample_value(
                "dia_partition_state", {"topic": "t", "partition": "3", "state": name}
            )
            for name in PARTITION_STATES
        }
        assert where == {name: float(name == state) for name in PARTITION_STATES}
    assert _stopped_by(metrics, "poison_storm") is None
    metrics.set_partition_state("t", 3, "stopped", "poison_storm")
    assert _stopped_by(metrics, "poison_storm") == 1
    with pytest.raises(ValueError, match="asleep"):
        metrics.set_partition_state("t", 3, "asleep")


def test_gauges_of_a_partition_that_left_are_removed():
    """Otherwise two processes would report the lag of one partition, and the sum would be wrong."""
    metrics = Metrics()
    for partition in (0, 1):
        metrics.set_partition_state("t", partition, "ready")
        metrics.intake.lag_records.labels("t", partition).set(9)
        metrics.partition.stopped.labels("t", partition, "poison_storm").set(1)
        metrics.state.pressure_ratio.labels("t", partition).set(0.9)
        metrics.state.bytes.labels("t", partition, "seen_events").set(9)
        metrics.intake.records_read.labels("t", partition).inc()
    metrics.forget_partition("t", 0)
    text = generate_latest(metrics.registry).decode()
    gone = [line for line in text.splitlines() if 'partition="0"' in line]
    assert gone == ['dia_records_read_total{partition="0",topic="t"} 1.0']
    assert 'dia_lag_records{partition="1",topic="t"} 9.0' in text
