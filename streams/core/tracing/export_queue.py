"""Exports spans from a bounded queue, in a thread. A slow or unavailable collector costs spans
only; lost ones are counted, which the SDK's batch processor does not do."""

from __future__ import annotations

import queue
import threading

import structlog
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from streams.core.telemetry.metrics import TracingMetrics

QUEUE_MAX = 4096
"""waiting spans; some 2 KiB each"""
BATCH_MAX = 512
SHUTDOWN_S = 1.0
"""for an exporter after its shutdown"""
LINGER_S = 1.0
"""how long a first span waits for others"""

log = structlog.get_logger(__name__)


class ExportQueue(SpanProcessor):
    """Takes ended spans from any thread, without waiting."""

    def __init__(
        self,
        exporter: SpanExporter,
        metrics: TracingMetrics,
        *,
        queue_max: int = QUEUE_MAX,
        linger_s: float = LINGER_S,
    ) -> None:
        self._exporter = exporter
        self._metrics = metrics
        self._linger_s = linger_s
        self._waiting: queue.Queue[ReadableSpan] = queue.Queue(queue_max)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="trace-export", daemon=True)
        self._thread.start()

    def on_end(self, span: ReadableSpan) -> None:
        try:
            self._waiting.put_nowait(span)
        except queue.Full:
            self._metrics.spans.labels("dropped").inc()

    def close(self, timeout_s: float) -> None:
        self._closing.set()
        self._thread.join(timeout_s)
        # Ends the exporter's pauses between attempts, and so its export.
        self._exporter.shutdown()
        self._thread.join(SHUTDOWN_S)
        self._metrics.spans.labels("dropped").inc(self._waiting.qsize())

    def _run(self) -> None:
        while batch := self._next():
            self._export(batch)

    def _next(self) -> list[ReadableSpan]:
        while not self._closing.is_set() and self._waiting.empty():
            self._closing.wait(self._linger_s)
        batch: list[ReadableSpan] = []
        while len(batch) < BATCH_MAX:
            try:
                batch.append(self._waiting.get_nowait())
            except queue.Empty:
                break
        return batch

    def _export(self, batch: list[ReadableSpan]) -> None:
        try:
            result = self._exporter.export(batch)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the collector's affair
            log.warning("spans_not_exported", spans=len(batch), why=repr(error))
            result = SpanExportResult.FAILURE
        outcome = "sent" if result is SpanExportResult.SUCCESS else "failed"
        self._metrics.spans.labels(outcome).inc(len(batch))
