"""The tracer of the settings."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from streams.core.clock import Clock
from streams.core.errors import UsageError
from streams.core.process.version import app_version
from streams.core.settings import Settings
from streams.core.telemetry.metrics import Metrics
from streams.core.tracing.tracer import UNTRACED, Tracer

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

EXPORT_TIMEOUT_S = 5.0
"""per export, retries included"""
CLOSE_TIMEOUT_S = 2.0
"""longest wait for a collector at stop"""
_PATH = "/v1/traces"


def tracer_of(settings: Settings, service: str, clock: Clock, metrics: Metrics) -> Tracer:
    """`UNTRACED`, without any import, where no collector is set. Raises `UsageError` where one is
    set and the extra ``otel`` is missing."""
    if not settings.otel_endpoint:
        return UNTRACED
    _require_sense(settings)
    try:
        from streams.core.tracing.export_queue import ExportQueue
        from streams.core.tracing.process_tracer import ProcessTracer
        from streams.core.tracing.spans import Spans
    except ImportError as error:
        raise UsageError(
            "DIA_OTEL_ENDPOINT is set, but the extra `otel` is not installed. Run `pip install "
            "'dia-streams[otel]'`, or unset it."
        ) from error
    exports = ExportQueue(_exporter(settings), metrics.tracing)
    named = {
        "service.name": service,
        "service.version": app_version(),
        "service.instance.id": socket.gethostname(),
    }
    return ProcessTracer(Spans(named, exports, clock), settings.otel_sample_ratio, exports.close)


def _require_sense(settings: Settings) -> None:
    if not settings.otel_endpoint.startswith(("http://", "https://")):
        raise UsageError(
            "DIA_OTEL_ENDPOINT is no address of a collector: it begins with http:// or https://."
        )
    if settings.otel_ca_file and settings.otel_endpoint.startswith("http:"):
        raise UsageError(
            "DIA_OTEL_CA_FILE is set, but DIA_OTEL_ENDPOINT is not encrypted. Let it begin with "
            "https://, or unset the file."
        )


def _exporter(settings: Settings) -> SpanExporter:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from requests import Session

    session = Session()
    session.trust_env = False  # no proxy to the cluster's collector
    return OTLPSpanExporter(
        endpoint=settings.otel_endpoint.rstrip("/") + _PATH,
        certificate_file=settings.otel_ca_file or None,
        timeout=EXPORT_TIMEOUT_S,
        session=session,
    )
