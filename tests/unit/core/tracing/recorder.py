"""Spans in memory, and navigation between them."""

from __future__ import annotations

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from streams.core.clock import Clock
from streams.core.tracing.context import TraceContext
from streams.core.tracing.process_tracer import ProcessTracer
from streams.core.tracing.spans import Spans

CALLER = TraceContext(trace_id=0xABC, span_id=0xDEF, sampled=True)
IGNORED = TraceContext(trace_id=0xABC, span_id=0xDEF, sampled=False)


class Recorder:
    """The spans of several processes."""

    def __init__(self) -> None:
        self._kept = InMemorySpanExporter()

    def tracer(self, clock: Clock, service: str = "test", ratio: float = 0.0) -> ProcessTracer:
        spans = Spans({"service.name": service}, SimpleSpanProcessor(self._kept), clock)
        return ProcessTracer(spans, ratio, lambda timeout_s: None, seed=1)

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        """All ended spans."""
        return self._kept.get_finished_spans()

    @property
    def names(self) -> list[str]:
        """The names of all ended spans, in the order of their ends."""
        return [span.name for span in self.spans]

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == name]

    def linked(self, name: str, origin: ReadableSpan) -> list[ReadableSpan]:
        """Spans with that name that link to ``origin``."""
        return [span for span in self.named(name) if identity(origin) in links(span)]

    def children(self, parent: ReadableSpan) -> list[ReadableSpan]:
        return [
            span
            for span in self.spans
            if span.parent is not None and span.parent.span_id == parent.context.span_id
        ]


def identity(span: ReadableSpan) -> tuple[int, int]:
    return (span.context.trace_id, span.context.span_id)


def links(span: ReadableSpan) -> list[tuple[int, int]]:
    return [(link.context.trace_id, link.context.span_id) for link in span.links]
