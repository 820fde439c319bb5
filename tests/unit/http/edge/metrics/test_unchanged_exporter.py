"""The unchanged SDK of OpenTelemetry sends to an edge that listens."""

from __future__ import annotations

import json
import time
from collections import Counter as Tally

import pytest
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    InMemoryMetricReader,
    MetricExportResult,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource

from agents.app import app
from streams.core.clock import SystemClock
from streams.testing import AppTester

DELTA = {
    Counter: AggregationTemporality.DELTA,
    Histogram: AggregationTemporality.DELTA,
}


@pytest.fixture
def exporter(served, tokens):
    """As an application makes it, but for its address and token."""
    made = OTLPMetricExporter(
        endpoint=f"{served}/v1/metrics",
        headers={"Authorization": f"Bearer {tokens['operate']}"},
        preferred_temporality=DELTA,
        compression=Compression.Gzip,
        timeout=30,
    )
    yield made
    made.shutdown()


def _events(log, count: int) -> list[dict]:
    """Of the log, once it has ``count``: the edge ships from a thread of its own."""
    until_s = time.monotonic() + 100
    while len(log()) < count and time.monotonic() < until_s:
        time.sleep(0.01)
    return [json.loads(value) for _, value in log()]


def test_instruments_become_series(exporter, log):
    """Counters, gauges and both kinds of histograms of an application that knows nothing of dia."""
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
    fine = View(instrument_name="size", aggregation=ExponentialBucketHistogramAggregation())
    resource = Resource.create({"service.name": "resnet"})
    provider = MeterProvider([reader], resource, views=[fine])
    meter = provider.get_meter("train")
    meter.create_counter("samples").add(7, {"split": "train"})
    meter.create_gauge("loss").set(0.25)
    meter.create_up_down_counter("workers").add(3)
    for name in ("latency", "size"):
        histogram = meter.create_histogram(name)
        for value in (3.0, 30.0, 300.0):
            histogram.record(value)
    provider.shutdown()  # with a last export
    found = _events(log, 13)
    assert {event["model_id"] for event in found} == {"resnet"}
    named = {
        name: [event["value"] for event in found if event["metric"] == name]
        for name in Tally(event["metric"] for event in found)
    }
    exact = {'samples{split="train"}': [7], "loss": [0.25], "workers:total": [3]}
    ends = {f"{name}{end}": [value] for name in ("latency", "size") for end, value in ((":count", 3), (":sum", 333.0))}  # fmt: skip
    assert exact | ends == {name: named[name] for name in exact | ends}
    for name in ("latency", "size"):
        low, middle, high = named[name]
        assert (low, high) == (3.0, 300.0)
        assert 25 <= middle <= 50


def test_a_repeated_export_counts_once(exporter, log, app_tester):
    """An exporter that is killed before it reads an answer sends the same request again."""
    reader = InMemoryMetricReader(DELTA)
    provider = MeterProvider([reader], Resource.create({"service.name": "resnet"}))
    counter = provider.get_meter("train").create_counter("samples")
    counter.add(3, {"split": "train"})
    counter.add(4, {"split": "test"})
    collected = reader.get_metrics_data()
    for _ in range(3):
        assert exporter.export(collected) is MetricExportResult.SUCCESS
    provider.shutdown()
    tester: AppTester = app_tester(app, now_ms=SystemClock().now_ms())
    for event in _events(log, 6):
        tester.send(app.topics["model.metrics"], event)
    assert sorted(row["s1"] for row in tester.rows("m1")) == [3, 4]
    assert not tester.dead_letters
