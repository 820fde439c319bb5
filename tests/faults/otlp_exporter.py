"""A process that sends numbered points by the SDK's exporter, until all are taken: URL TOKEN BASE_NS POINTS FILE.

FILE holds how many points were taken, and a restarted process goes on there: it sends the request again that
was under way, as a collector with a store of its own does."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Metric,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from streams.core.process.atomic_file import write_atomically

SIZE: Final = 10_000
"""Points of a request."""
STEP_NS: Final = 100_000
SHARDS: Final = 100
TENANTS: Final = 8


def tenant(point: int) -> str:
    return f"tenant-{point // SIZE % TENANTS}"


def value(point: int) -> int:
    return point % 1000


def taken(file: Path) -> int:
    return int(file.read_text()) if file.exists() else 0


def request(first: int, base_ns: int) -> MetricsData:
    """Increases in the points ``first`` to ``first + SIZE``."""
    held = [
        NumberDataPoint(
            attributes={"shard": point % SHARDS},
            start_time_unix_nano=base_ns + (point - 1) * STEP_NS,
            time_unix_nano=base_ns + point * STEP_NS,
            value=value(point),
        )
        for point in range(first, first + SIZE)
    ]
    increases = Sum(held, AggregationTemporality.DELTA, is_monotonic=True)
    resource = Resource({"service.name": "trainer", "dia.tenant": tenant(first)})
    scope = ScopeMetrics(InstrumentationScope("load"), [Metric("steps", "", "", increases)], "")
    return MetricsData([ResourceMetrics(resource, [scope], "")])


def main() -> None:
    url, token, base_ns, points, file = *sys.argv[1:5], Path(sys.argv[5])
    exporter = OTLPMetricExporter(
        endpoint=f"{url}/v1/metrics",
        headers={"Authorization": f"Bearer {token}"},
        compression=Compression.Gzip,
        timeout=120,
    )
    while (first := taken(file)) < int(points):
        if exporter.export(request(first, int(base_ns))) is MetricExportResult.SUCCESS:
            write_atomically(file, str(first + SIZE).encode())


if __name__ == "__main__":
    main()
