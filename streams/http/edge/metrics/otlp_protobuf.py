"""Metrics of OTLP in Protobuf (ExportMetricsServiceRequest), by the published definitions.

Attributes stay bytes until a series is new in its metric (lean_messages.py)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.metrics.v1 import metrics_pb2
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from streams.connect.access.refusals import BadRequest
from streams.http.edge.metrics.attribute_text import sorted_labels
from streams.http.edge.metrics.lean_messages import lean
from streams.http.edge.metrics.otlp_kinds import (
    DELTA,
    NO_RECORDED_VALUE,
    STEP_POINTS,
    cumulative,
    explicit,
    exponential,
    histogram,
    sum_kind,
    sum_suffix,
    unsupported,
)
from streams.http.edge.metrics.points import (
    ABSENT,
    NOTHING,
    NS_PER_MS,
    NumberPoints,
    Points,
    Reading,
)
from streams.http.edge.metrics.series import Labels, NamedSeries, SeriesNaming, Source, bounded

_UNREAD: Final = ("attributes", "exemplars", "filtered_attributes", "metadata", "resource", "scope")


def _published() -> FileDescriptorProto:
    file = FileDescriptorProto()
    metrics_pb2.DESCRIPTOR.CopyToProto(file)
    return file


_Request: Final = lean(_published(), _UNREAD, "MetricsData")
"""MetricsData and ExportMetricsServiceRequest have the same form."""


def read_protobuf(body: bytes, naming: SeriesNaming) -> Reading:
    """Raises `BadRequest`."""
    try:
        request = _Request.FromString(body)
        for resource_metrics in request.resource_metrics:
            yield NOTHING
            resource = _resource(resource_metrics.resource)
            for scope_metrics in resource_metrics.scope_metrics:
                source = naming.source(resource, _scope(scope_metrics.scope))
                for metric in scope_metrics.metrics:
                    yield from _metric(metric, _SeriesOf(naming, source, metric.name, metric.unit))
                yield NOTHING
    except DecodeError as error:
        raise BadRequest(f"the body is no ExportMetricsServiceRequest: {error}") from None


class _SeriesOf:
    """Series of one metric, by their attributes as they were written."""

    def __init__(self, naming: SeriesNaming, source: Source, name: str, unit: str) -> None:
        self.name = bounded(name)
        self._unit = unit
        self._naming = naming
        self._source = source
        self._known: dict[tuple[bytes, ...], NamedSeries] = {}

    def get(self, attributes: Any, kind: str, suffix: str = "") -> NamedSeries:
        written = tuple(attributes)
        found = self._known.get(written)
        if found is None:
            labels = _labels(map(KeyValue.FromString, written))
            name = self.name + suffix if self.name else ""
            found = self._naming.otlp(self._source, name, self._unit, kind, labels)
            self._known[written] = found
        return found


def _metric(metric: Any, series: _SeriesOf) -> Iterator[Points]:
    kind = metric.WhichOneof("data")
    if kind is None:
        yield NOTHING
        return
    data = getattr(metric, kind)
    points = data.data_points
    if kind == "gauge":
        yield from _numbers(points, series, kind, "", delta=False)
    elif kind == "sum":
        suffix = sum_suffix(data.aggregation_temporality)
        if suffix is None:
            yield unsupported(series.name, "a sum without a temporality", len(points))
        else:
            its = sum_kind(monotonic=data.is_monotonic)
            delta = data.aggregation_temporality == DELTA
            yield from _numbers(points, series, its, suffix, delta=delta)
    elif kind == "summary":
        yield unsupported(series.name, "a summary: its quantiles cannot be merged", len(points))
    elif data.aggregation_temporality != DELTA:
        yield cumulative(series.name, len(points))
    else:
        read = _explicit if kind == "histogram" else _exponential
        for point in points:
            if point.flags & NO_RECORDED_VALUE:
                yield ABSENT
            else:
                yield read(point, series.get(point.attributes, kind))


def _numbers(
    points: Any, series: _SeriesOf, kind: str, suffix: str, *, delta: bool
) -> Iterator[Points]:
    for start in range(0, len(points) or 1, STEP_POINTS):
        names, times, values = [], [], []
        starts: list[int] | None = [] if delta else None
        for point in points[start : start + STEP_POINTS]:
            names.append(series.get(point.attributes, kind, suffix))
            times.append(point.time_unix_nano)
            if starts is not None:
                starts.append(point.start_time_unix_nano)
            held = None if point.flags & NO_RECORDED_VALUE else point.WhichOneof("value")
            values.append(None if held is None else getattr(point, held))
        yield NumberPoints(names, times, values, NS_PER_MS, starts)


def _explicit(point: Any, series: NamedSeries) -> Points:
    ends = _ends(point)
    counts, bounds = [*point.bucket_counts], [*point.explicit_bounds]
    return histogram(
        *(series, _period(point), point.count, ends),
        lambda: explicit(counts, bounds, *ends[1:]),
    )


def _exponential(point: Any, series: NamedSeries) -> Points:
    positive, negative = (
        (side.offset, [*side.bucket_counts]) for side in (point.positive, point.negative)
    )
    return histogram(
        *(series, _period(point), point.count, _ends(point)),
        lambda: exponential(point.scale, point.zero_count, positive, negative),
    )


def _period(point: Any) -> tuple[int, int]:
    return point.start_time_unix_nano, point.time_unix_nano


def _ends(point: Any) -> tuple[float | None, float | None, float | None]:
    return (
        point.sum if point.HasField("sum") else None,
        point.min if point.HasField("min") else None,
        point.max if point.HasField("max") else None,
    )


def _resource(written: bytes) -> Labels:
    return _labels(Resource.FromString(written).attributes)


def _scope(written: bytes) -> Labels:
    """The name and version of a scope are no attributes: their labels have names of their own."""
    scope = InstrumentationScope.FromString(written)
    return [("", scope.name), ("", scope.version), *_labels(scope.attributes)]


def _labels(attributes: Any) -> Labels:
    return sorted_labels((one.key, _value(one.value)) for one in attributes)


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    held = getattr(value, kind)
    if kind == "array_value":
        return [_value(one) for one in held.values]
    if kind == "kvlist_value":
        return {one.key: _value(one.value) for one in held.values}
    return held
