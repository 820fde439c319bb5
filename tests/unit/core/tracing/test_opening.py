"""Without a collector tracing is off and costs nothing, not even an import."""

from __future__ import annotations

import subprocess
import sys

import pytest

from streams.core.clock import SystemClock
from streams.core.errors import UsageError
from streams.core.settings import Settings
from streams.core.telemetry.metrics import Metrics
from streams.core.tracing.opening import tracer_of
from streams.core.tracing.tracer import UNTRACED


def _tracer(**settings):
    return tracer_of(Settings(**settings), "test", SystemClock(), Metrics())


def test_without_a_collector_nothing_is_traced():
    """The default of every process."""
    assert _tracer() is UNTRACED


def test_a_process_without_tracing_runs_without_the_extra():
    """The packages are an extra; without them start and memory are unchanged."""
    code = (
        "import sys; sys.modules |= dict.fromkeys("
        "('opentelemetry.sdk', 'opentelemetry.trace', 'opentelemetry.exporter'));"
        "import streams.engine.app.app, streams.http.edge.serving, streams.cli.produce;"
        "assert 'streams.core.tracing.tracer' in sys.modules;"
        "assert 'streams.core.tracing.spans' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_without_the_extra_the_error_names_the_package(monkeypatch):
    """A missing extra must not end in a traceback."""
    monkeypatch.setitem(sys.modules, "streams.core.tracing.spans", None)
    with pytest.raises(UsageError, match=r"dia-streams\[otel\]"):
        _tracer(otel_endpoint="http://127.0.0.1:4318")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"otel_endpoint": "collector:4318"}, "http://"),
        ({"otel_endpoint": "http://c:4318", "otel_ca_file": "ca.crt"}, "not encrypted"),
    ],
)
def test_an_invalid_address_ends_the_start(settings, said):
    """Otherwise every span would be lost without a message."""
    with pytest.raises(UsageError, match=said):
        _tracer(**settings)


def test_an_absent_collector_loses_only_its_spans():
    """A real exporter against a closed port: lost spans are counted."""
    metrics = Metrics()
    settings = Settings(otel_endpoint="http://127.0.0.1:1", otel_sample_ratio=1.0)
    tracer = tracer_of(settings, "test", SystemClock(), metrics)
    with tracer.taking("model.metrics", b"") as header:
        assert header
    tracer.close(0.1)
    lost = [
        metrics.registry.get_sample_value("dia_trace_spans_total", {"outcome": outcome}) or 0
        for outcome in ("failed", "dropped")
    ]
    assert sum(lost) == 1
