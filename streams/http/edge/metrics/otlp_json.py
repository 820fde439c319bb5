"""Metrics of OTLP in JSON. 64-bit integers may be numbers or texts, doubles too; unknown fields are
passed over, names of enum values are refused, as OTLP says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeAlias

import msgspec

from streams.connect.access.refusals import BadRequest
from streams.core.records.text_encoding import foreign_encoding, without_mark
from streams.http.edge.metrics.attribute_text import sorted_labels
from streams.http.edge.metrics.otlp_kinds import (
    DELTA,
    NO_RECORDED_VALUE,
    STEP_POINTS,
    TIME_MAX_NS,
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

Whole: TypeAlias = int | str
Number: TypeAlias = float | str


class _Json(msgspec.Struct, rename="camel", gc=False):
    """Missing fields have the defaults of Protobuf; null is a missing field."""


class _Value(_Json):
    string_value: str | None = None
    bool_value: bool | None = None
    int_value: Whole | None = None
    double_value: Number | None = None
    array_value: _Values | None = None
    kvlist_value: _Pairs | None = None
    bytes_value: bytes | None = None

    def plain(self) -> Any:
        if self.int_value is not None:
            return _whole(self.int_value)
        if self.double_value is not None:
            return _number(self.double_value)
        if self.array_value is not None:
            return [one.plain() for one in self.array_value.values or ()]
        if self.kvlist_value is not None:
            return {one.key: one.plain() for one in self.kvlist_value.values or ()}
        for held in (self.string_value, self.bool_value, self.bytes_value):
            if held is not None:
                return held
        return None


class _Values(_Json):
    values: list[_Value] | None = None


class _Pair(_Json):
    key: str = ""
    value: _Value | None = None

    def plain(self) -> Any:
        return None if self.value is None else self.value.plain()


class _Pairs(_Json):
    values: list[_Pair] | None = None


class _Attributed(_Json):
    attributes: list[_Pair] | None = None


class _Scope(_Attributed):
    name: str | None = None
    version: str | None = None


class _Point(_Attributed):
    start_time_unix_nano: Whole | None = None
    time_unix_nano: Whole | None = None
    flags: int | None = None


class _NumberPoint(_Point):
    as_double: Number | None = None
    as_int: Whole | None = None


class _Numbers(_Json):
    data_points: list[_NumberPoint] | None = None
    aggregation_temporality: int | None = None
    is_monotonic: bool | None = None


class _Distribution(_Point):
    count: Whole | None = None
    sum: Number | None = None
    min: Number | None = None
    max: Number | None = None

    @property
    def ends(self) -> tuple[float | None, float | None, float | None]:
        return _maybe(self.sum), _maybe(self.min), _maybe(self.max)


class _ExplicitPoint(_Distribution):
    bucket_counts: list[Whole] | None = None
    explicit_bounds: list[Number] | None = None


class _Explicit(_Json):
    data_points: list[_ExplicitPoint] | None = None
    aggregation_temporality: int | None = None


class _Side(_Json):
    offset: int | None = None
    bucket_counts: list[Whole] | None = None

    def read(self) -> tuple[int, Sequence[int]]:
        return _int32(self.offset), _wholes(self.bucket_counts)


class _ExponentialPoint(_Distribution):
    scale: int | None = None
    zero_count: Whole | None = None
    positive: _Side | None = None
    negative: _Side | None = None


class _Exponential(_Json):
    data_points: list[_ExponentialPoint] | None = None
    aggregation_temporality: int | None = None


class _Summary(_Json):
    data_points: list[msgspec.Raw] | None = None


class _Metric(_Json):
    name: str | None = None
    unit: str | None = None
    gauge: _Numbers | None = None
    sum: _Numbers | None = None
    histogram: _Explicit | None = None
    exponential_histogram: _Exponential | None = None
    summary: _Summary | None = None


class _ScopeMetrics(_Json):
    scope: _Scope | None = None
    metrics: list[_Metric] | None = None


class _ResourceMetrics(_Json):
    resource: _Attributed | None = None
    scope_metrics: list[_ScopeMetrics] | None = None


class _Request(_Json):
    resource_metrics: list[_ResourceMetrics] | None = None


_REQUEST: Final = msgspec.json.Decoder(_Request)


def read_json(body: bytes, naming: SeriesNaming) -> Reading:
    """Raises `BadRequest`."""
    if (encoding := foreign_encoding(body)) is not None:
        raise BadRequest(f"the body is {encoding}; send UTF-8")
    try:
        request = _REQUEST.decode(without_mark(body))
        for resource_metrics in request.resource_metrics or ():
            yield NOTHING
            resource = _labels(resource_metrics.resource)
            for scope_metrics in resource_metrics.scope_metrics or ():
                source = naming.source(resource, _scope(scope_metrics.scope))
                for metric in scope_metrics.metrics or ():
                    its = _SeriesOf(naming, source, metric.name or "", metric.unit or "")
                    yield from _metric(metric, its)
                yield NOTHING
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body is no ExportMetricsServiceRequest in JSON: {error}") from None


class _SeriesOf:
    """Series of one metric."""

    def __init__(self, naming: SeriesNaming, source: Source, name: str, unit: str) -> None:
        self._unit = unit
        self.name = bounded(name)
        self._naming = naming
        self._source = source

    def get(self, point: _Point, kind: str, suffix: str = "") -> NamedSeries:
        name = self.name + suffix if self.name else ""
        return self._naming.otlp(self._source, name, self._unit, kind, _labels(point))


def _metric(metric: _Metric, series: _SeriesOf) -> Iterator[Points]:
    yield NOTHING
    if metric.gauge is not None:
        yield from _numbers(metric.gauge, series, "gauge", "", delta=False)
    if metric.sum is not None:
        suffix = sum_suffix(metric.sum.aggregation_temporality or 0)
        points = metric.sum.data_points or ()
        if suffix is None:
            yield unsupported(series.name, "a sum without a temporality", len(points))
        else:
            kind = sum_kind(monotonic=bool(metric.sum.is_monotonic))
            delta = metric.sum.aggregation_temporality == DELTA
            yield from _numbers(metric.sum, series, kind, suffix, delta=delta)
    if metric.summary is not None:
        summaries = metric.summary.data_points or ()
        yield unsupported(series.name, "a summary: its quantiles cannot be merged", len(summaries))
    if (explicits := metric.histogram) is not None:
        yield from _histograms(explicits, series, "histogram")
    if (exponentials := metric.exponential_histogram) is not None:
        yield from _histograms(exponentials, series, "exponential_histogram")


def _numbers(
    numbers: _Numbers, series: _SeriesOf, kind: str, suffix: str, *, delta: bool
) -> Iterator[Points]:
    points = numbers.data_points or ()
    for start in range(0, len(points), STEP_POINTS):
        piece = points[start : start + STEP_POINTS]
        names = [series.get(point, kind, suffix) for point in piece]
        times = [_time(point) for point in piece]
        starts = [_start(point) for point in piece] if delta else None
        yield NumberPoints(names, times, [*map(_point_value, piece)], NS_PER_MS, starts)


def _point_value(point: _NumberPoint) -> float | None:
    if (point.flags or 0) & NO_RECORDED_VALUE:
        return None
    if point.as_int is not None:
        return _whole(point.as_int)
    return _maybe(point.as_double)


def _histograms(found: _Explicit | _Exponential, series: _SeriesOf, kind: str) -> Iterator[Points]:
    points = found.data_points or ()
    if found.aggregation_temporality != DELTA:
        yield cumulative(series.name, len(points))
        return
    for point in points:
        if (point.flags or 0) & NO_RECORDED_VALUE:
            yield ABSENT
        else:
            read = _explicit if isinstance(point, _ExplicitPoint) else _exponential
            yield read(point, series.get(point, kind))  # type: ignore[arg-type]  # told apart above


def _explicit(point: _ExplicitPoint, series: NamedSeries) -> Points:
    ends, counts = point.ends, _wholes(point.bucket_counts)
    bounds = [*map(_number, point.explicit_bounds or ())]
    return histogram(
        *(series, (_start(point), _time(point)), _whole(point.count), ends),
        lambda: explicit(counts, bounds, *ends[1:]),
    )


def _exponential(point: _ExponentialPoint, series: NamedSeries) -> Points:
    positive, negative = (
        (0, ()) if side is None else side.read() for side in (point.positive, point.negative)
    )
    scale, zero_count = _int32(point.scale), _whole(point.zero_count)
    return histogram(
        *(series, (_start(point), _time(point)), _whole(point.count), point.ends),
        lambda: exponential(scale, zero_count, positive, negative),
    )


def _labels(found: _Attributed | None) -> Labels:
    if found is None or not found.attributes:
        return []
    return sorted_labels((one.key, one.plain()) for one in found.attributes)


def _scope(scope: _Scope | None) -> Labels:
    """As in otlp_protobuf.py."""
    if scope is None:
        return [("", ""), ("", "")]
    return [("", scope.name or ""), ("", scope.version or ""), *_labels(scope)]


def _time(point: _Point) -> int:
    return _nanoseconds("timeUnixNano", point.time_unix_nano)


def _start(point: _Point) -> int:
    return _nanoseconds("startTimeUnixNano", point.start_time_unix_nano)


def _nanoseconds(field: str, written: Whole | None) -> int:
    found = _whole(written)
    if not 0 <= found <= TIME_MAX_NS:
        raise ValueError(f"{field} is no unsigned 64-bit integer")
    return found


def _whole(said: Whole | None) -> int:
    """Raises `ValueError` for no 64-bit integer, signed or unsigned."""
    found = int(said or 0)
    if not -(1 << 63) <= found < 1 << 64:
        raise ValueError("a whole number is no 64-bit integer")
    return found


def _int32(said: int | None) -> int:
    found = said or 0
    if not -(1 << 31) <= found < 1 << 31:
        raise ValueError("a whole number is no 32-bit integer")
    return found


def _wholes(said: Sequence[Whole] | None) -> list[int]:
    return [*map(_whole, said or ())]


def _number(said: Number) -> float:
    """Raises `ValueError` for a text that is no number."""
    return float(said)


def _maybe(said: Number | None) -> float | None:
    return None if said is None else float(said)
