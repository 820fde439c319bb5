"""Generated requests of OpenTelemetry, and what an edge makes of a body."""

from __future__ import annotations

import time
from typing import Any

from google.protobuf import json_format
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from streams.connect.access.tokens import AccessToken
from streams.core.settings import Settings
from streams.http.edge.metrics.metric_intake import REQUEST_EVENTS_MAX, Reader
from streams.http.edge.metrics.point_events import PointEvents
from streams.http.edge.metrics.series import MetricNames, SeriesNaming

NOW_NS = time.time_ns()
NAMES = MetricNames.of(Settings())


def token(tenant: str | None) -> AccessToken:
    role = "admin" if tenant is None else "operate"
    return AccessToken(id="01234567", tenant=tenant, role=role, sha256="", created_ms=0)


def made_of(
    body: bytes,
    read: Reader,
    tenant: str | None = "acme",
    events_max: int = REQUEST_EVENTS_MAX,
) -> PointEvents:
    """With the token of ``tenant``; None: one of every tenant."""
    made = PointEvents(events_max)
    for points in read(body, SeriesNaming(NAMES, token(tenant))):
        made.add(points)
    return made


def as_json(request: ExportMetricsServiceRequest) -> bytes:
    """As OTLP says: numbers for enum values."""
    return json_format.MessageToJson(request, use_integers_for_enums=True).encode()


def request_of(*values: float, tenant: str | None = None, **resource: str) -> Any:
    """A gauge ``g`` of the model ``svc``, a nanosecond between its points."""
    request = ExportMetricsServiceRequest()
    found = request.resource_metrics.add()
    said = {"service.name": "svc", **resource} | ({"dia.tenant": tenant} if tenant else {})
    for key, text in said.items():
        found.resource.attributes.add(key=key).value.string_value = text
    points = found.scope_metrics.add().metrics.add(name="g").gauge.data_points
    for place, value in enumerate(values):
        points.add(time_unix_nano=NOW_NS + place, as_double=value)
    return request


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
plain = st.one_of(
    texts.map(lambda one: AnyValue(string_value=one)),
    st.booleans().map(lambda one: AnyValue(bool_value=one)),
    st.integers(-(1 << 63), (1 << 63) - 1).map(lambda one: AnyValue(int_value=one)),
    st.floats().map(lambda one: AnyValue(double_value=one)),
    st.binary(max_size=5).map(lambda one: AnyValue(bytes_value=one)),
    st.just(AnyValue()),
)
attributes = st.lists(
    st.builds(lambda key, value: KeyValue(key=key, value=value), texts, plain), max_size=3
)
times = st.integers(NOW_NS - 10**9, NOW_NS) | st.sampled_from([0, NOW_NS + 10**18, (1 << 64) - 1])
counts = st.integers(0, 5) | st.sampled_from([1 << 50, (1 << 64) - 1])
maybe = st.none() | st.floats()


@st.composite
def requests(draw: Any) -> ExportMetricsServiceRequest:
    """Any, valid and not: of all kinds of points, for tenants that a token covers or not."""
    request = ExportMetricsServiceRequest()
    for _ in range(draw(st.integers(0, 2))):
        found = request.resource_metrics.add()
        found.resource.attributes.extend(draw(attributes))
        if draw(st.booleans()):
            found.resource.attributes.add(key="service.name").value.string_value = draw(texts)
        if draw(st.booleans()):
            tenant = draw(st.sampled_from(["acme", "globex", ""]) | texts)
            found.resource.attributes.add(key="dia.tenant").value.string_value = tenant
        scope = found.scope_metrics.add()
        scope.scope.name = draw(texts)
        for _ in range(draw(st.integers(0, 3))):
            _metric(draw, scope.metrics.add(name=draw(texts | st.just("n" * 200))))
    return request


def _metric(draw: Any, metric: Any) -> None:
    kind = draw(
        st.sampled_from(["gauge", "sum", "histogram", "exponential_histogram", "summary", None])
    )
    if kind is None:
        return
    data = getattr(metric, kind)
    data.SetInParent()
    if kind in {"sum", "histogram", "exponential_histogram"}:
        data.aggregation_temporality = draw(st.sampled_from([1, 1, 2, 0]))
    for _ in range(draw(st.integers(0, 3))):
        point = data.data_points.add(
            time_unix_nano=draw(times), start_time_unix_nano=draw(st.sampled_from([0, NOW_NS]))
        )
        point.attributes.extend(draw(attributes))
        point.flags = draw(st.sampled_from([0, 0, 0, 1]))
        if kind in {"gauge", "sum"}:
            _number(draw, point)
        elif kind != "summary":
            _observations(draw, point, kind)


def _number(draw: Any, point: Any) -> None:
    which = draw(st.sampled_from(["as_double", "as_int", None]))
    if which == "as_double":
        point.as_double = draw(st.floats())
    elif which == "as_int":
        point.as_int = draw(st.integers(-(1 << 63), (1 << 63) - 1))


def _observations(draw: Any, point: Any, kind: str) -> None:
    held = draw(st.lists(counts, max_size=4))
    for name, value in zip(
        ("sum", "min", "max"), draw(st.tuples(maybe, maybe, maybe)), strict=True
    ):
        if value is not None:
            setattr(point, name, value)
    point.count = min(sum(held), (1 << 64) - 1) if draw(st.booleans()) else draw(counts)
    if kind == "histogram":
        point.bucket_counts.extend(held)
        bounds = draw(st.lists(st.floats(), max_size=4))
        point.explicit_bounds.extend(sorted(bounds) if draw(st.booleans()) else bounds)
    else:
        point.scale = draw(st.integers(-12, 22))
        point.zero_count = draw(counts)
        point.positive.bucket_counts.extend(held)
        point.positive.offset = draw(st.integers(-(1 << 31), (1 << 31) - 1) | st.integers(-9, 9))
