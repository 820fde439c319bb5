"""A slow, absent or broken collector loses spans, each counted, and has no other effect."""

from __future__ import annotations

import threading

import pytest
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from prometheus_client import CollectorRegistry

from streams.core.telemetry.metrics import Metrics
from streams.core.tracing.export_queue import ExportQueue

PATIENT_S = 30.0


class Collector(SpanExporter):
    """Answers as configured, once the test allows it."""

    def __init__(self, result=SpanExportResult.SUCCESS) -> None:
        self.result = result
        self.taken: list[object] = []
        self.asked = threading.Event()
        self.let = threading.Event()
        self.let.set()

    def export(self, spans):
        self.asked.set()
        assert self.let.wait(PATIENT_S)
        if isinstance(self.result, Exception):
            raise self.result
        self.taken += spans
        return self.result

    def shutdown(self) -> None:
        self.let.set()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry())


def _counts(metrics) -> dict[str, float]:
    found = {
        outcome: metrics.registry.get_sample_value("dia_trace_spans_total", {"outcome": outcome})
        for outcome in ("sent", "failed", "dropped")
    }
    return {outcome: count for outcome, count in found.items() if count}


def test_queued_spans_are_sent_at_shutdown(metrics):
    """The last seconds of a process are often the interesting ones."""
    collector = Collector()
    queue = ExportQueue(collector, metrics.tracing, linger_s=PATIENT_S)
    spans = [object() for _ in range(2000)]
    for span in spans:
        queue.on_end(span)
    queue.close(PATIENT_S)
    assert collector.taken == spans
    assert _counts(metrics) == {"sent": 2000}


@pytest.mark.parametrize("result", [SpanExportResult.FAILURE, OSError("away")])
def test_refused_spans_are_counted(metrics, result):
    """Also if the exporter raises: its thread must go on."""
    queue = ExportQueue(Collector(result), metrics.tracing, linger_s=0.001)
    for _ in range(3):
        queue.on_end(object())
    queue.close(PATIENT_S)
    assert _counts(metrics) == {"failed": 3}


def test_a_hanging_collector_fills_the_queue_and_blocks_no_caller(metrics):
    """The event loop calls `on_end`, which must never block."""
    collector = Collector()
    collector.let.clear()
    queue = ExportQueue(collector, metrics.tracing, queue_max=10, linger_s=0.001)
    queue.on_end(object())
    assert collector.asked.wait(PATIENT_S)
    for _ in range(25):
        queue.on_end(object())
    assert _counts(metrics) == {"dropped": 15}
    queue.close(0.01)
    assert collector.let.is_set(), "the shutdown must not wait for the collector"
