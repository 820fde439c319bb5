"""OpenTelemetry spans with our clock and contexts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from streams.core.clock import Clock
from streams.core.errors import DiaError
from streams.core.tracing.context import TraceContext

Attributes = Mapping[str, str | int]
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)


class Spans:
    """Sampling was decided before, hence ``ALWAYS_ON``."""

    def __init__(self, service: Attributes, processor: SpanProcessor, clock: Clock) -> None:
        """``service``: resource attributes, ``service.name`` included."""
        # the SDK's exit hook would wait for the collector
        self._provider = TracerProvider(
            sampler=ALWAYS_ON, resource=Resource.create(dict(service)), shutdown_on_exit=False
        )
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("dia")
        self._clock = clock

    def stopwatch(self) -> Stopwatch:
        return Stopwatch(self._clock)

    def begin(
        self,
        name: str,
        kind: SpanKind,
        *,
        began_ns: int,
        parent: TraceContext | None = None,
        links: Iterable[TraceContext] = (),
        attributes: Attributes | None = None,
    ) -> Span:
        """Without ``parent`` the span starts a trace."""
        return self._tracer.start_span(
            name,
            context=_context(parent),
            kind=kind,
            links=[Link(_span_context(link)) for link in links],
            attributes=attributes,
            start_time=began_ns,
        )

    @contextmanager
    def during(
        self,
        name: str,
        kind: SpanKind,
        *,
        parent: TraceContext | None = None,
        links: Iterable[TraceContext] = (),
        attributes: Attributes | None = None,
    ) -> Iterator[Span]:
        watch = self.stopwatch()
        span = self.begin(
            name,
            kind,
            began_ns=watch.began_ns,
            parent=parent,
            links=links,
            attributes=attributes,
        )
        try:
            yield span
        except BaseException as error:
            failed(span, error)
            raise
        finally:
            span.end(watch.now_ns())


def context_of(span: Span) -> TraceContext:
    found = span.get_span_context()
    return TraceContext(found.trace_id, found.span_id, sampled=True)


def failed(span: Span, error: BaseException) -> None:
    """Only the code: a message may quote a payload."""
    code = error.code if isinstance(error, DiaError) else type(error).__name__
    span.set_status(StatusCode.ERROR, code)
    span.set_attribute("error.type", code)


def _context(parent: TraceContext | None) -> Context:
    if parent is None:
        return Context()
    return set_span_in_context(NonRecordingSpan(_span_context(parent)), Context())


def _span_context(context: TraceContext) -> SpanContext:
    return SpanContext(context.trace_id, context.span_id, is_remote=True, trace_flags=_SAMPLED)


_MS_NS = 1_000_000
_S_NS = 1_000_000_000


class Stopwatch:
    """Nanoseconds since the epoch; never decreases."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._at_s = clock.monotonic()
        self.began_ns = clock.now_ms() * _MS_NS

    def now_ns(self) -> int:
        return self.began_ns + round((self._clock.monotonic() - self._at_s) * _S_NS)
