"""Laws of metrics of OpenTelemetry and Prometheus (docs/protocols/otlp.md)."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterable
from typing import Any

import cramjam
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.app import MODEL_METRICS
from streams.connect.access.refusals import BadRequest, BodyTooLarge
from streams.core.records.fields import VALUE_MAX
from streams.engine.decode.codecs import Limits, check
from streams.http.edge.metrics.encodings import unpacked
from streams.http.edge.metrics.otlp_json import read_json
from streams.http.edge.metrics.otlp_protobuf import read_protobuf
from streams.http.edge.metrics.remote_write import read_v1, read_v2
from tests.depth import cases
from tests.metric_requests import NOW_NS, as_json, made_of, requests
from tests.prometheus_requests import Request, WriteRequest

tenants = st.sampled_from(["acme", None])
patient = settings(max_examples=cases(120), deadline=None)


def _sent(request: Any) -> int:
    return sum(
        len(getattr(metric, metric.WhichOneof("data")).data_points)
        for found in request.resource_metrics
        for scope in found.scope_metrics
        for metric in scope.metrics
        if metric.WhichOneof("data")
    )


@patient
@given(requests(), tenants)
def test_every_event_is_one_that_the_pipeline_takes(request_, tenant):
    """Only an event's time, and a number beyond the bound, are judged later; all else would be a
    dead letter of a point that was answered as accepted."""
    made = made_of(request_.SerializeToString(), read_protobuf, tenant)
    decoded, _ = check(MODEL_METRICS, made.values, NOW_NS // 10**6, Limits(10**12, 10**12))
    for bad in decoded.bad:
        event = json.loads(made.values[bad.position])
        assert bad.code == "out_of_range"
        assert abs(event["value"]) > VALUE_MAX or bad.path == "$.ts"


@patient
@given(requests(), tenants)
def test_accepted_refused_and_absent_points_are_those_that_were_sent(request_, tenant):
    """A point that none of the three counts would have disappeared."""
    made = made_of(request_.SerializeToString(), read_protobuf, tenant)
    assert made.points == _sent(request_)
    assert made.accepted == len({*made.point_of})


@patient
@given(requests(), tenants)
def test_json_and_protobuf_of_a_request_make_the_same_events(request_, tenant):
    """A sender that changes its encoding between two attempts must not count twice."""
    one = made_of(request_.SerializeToString(), read_protobuf, tenant)
    other = made_of(as_json(request_), read_json, tenant)
    assert one.values == other.values
    assert (one.points, one.absent, one.refused.by_code) == (
        *(other.points, other.absent, other.refused.by_code),
    )


@patient
@given(requests())
def test_a_bound_token_makes_events_of_its_tenant_alone(request_):
    """Whatever attributes say: a resource that names another tenant makes none."""
    made = made_of(request_.SerializeToString(), read_protobuf, "acme")
    assert {json.loads(value)["tenant_id"] for value in made.values} <= {"acme"}


@patient
@given(requests())
def test_two_points_have_one_id_only_with_one_series_and_time(request_):
    """An id of two series would drop one of them as a repeat."""
    made = made_of(request_.SerializeToString(), read_protobuf, None)
    named: dict[tuple[str, str], tuple[str, int]] = {}
    for value in made.values:
        event = json.loads(value)
        said = event["metric"], event["ts"]
        assert named.setdefault((event["tenant_id"], event["event_id"]), said) == said


names = st.sampled_from(["__name__", "job", "dia_tenant", "instance", "a"])
labels = st.dictionaries(names, st.sampled_from(["", "acme", "globex", "up", "x" * 150]))
samples = st.lists(
    st.tuples(st.floats(), st.integers(-(1 << 63), (1 << 63) - 1)), max_size=3
)  # value, milliseconds
writes = st.lists(st.tuples(labels, samples, st.integers(0, 1)), max_size=4)


def _v1(series: Iterable[Any]) -> bytes:
    request = WriteRequest()
    for said, held, histograms in series:
        one = request.timeseries.add()
        for name, value in said.items():
            one.labels.add(name=name, value=value)
        for value, timestamp in held:
            one.samples.add(value=value, timestamp=timestamp)
        one.histograms.extend([b""] * histograms)
    return request.SerializeToString()


def _v2(series: Iterable[Any]) -> bytes:
    request, symbols = Request(), [""]
    for said, held, histograms in series:
        one = request.timeseries.add()
        for text in (text for pair in said.items() for text in pair):
            if text not in symbols:
                symbols.append(text)
            one.labels_refs.append(symbols.index(text))
        for value, timestamp in held:
            one.samples.add(value=value, timestamp=timestamp)
        one.histograms.extend([b""] * histograms)
    request.symbols.extend(symbols)
    return request.SerializeToString()


@patient
@given(writes, tenants)
def test_both_versions_of_remote_write_make_the_same_events(series, tenant):
    """A sender that falls back to the older version repeats what it sent."""
    one, other = made_of(_v1(series), read_v1, tenant), made_of(_v2(series), read_v2, tenant)
    assert one.values == other.values
    sent = sum(len(held) + histograms for _, held, histograms in series)
    assert one.points == other.points == sent
    absent = sum(math.isnan(value) for _, held, _ in series for value, _ in held)
    assert one.absent == absent
    assert one.accepted == len(one.values)
    if tenant:
        assert {json.loads(value)["tenant_id"] for value in one.values} <= {tenant}


@patient
@given(st.binary(max_size=200), st.sampled_from([read_protobuf, read_json, read_v1, read_v2]))
def test_any_bytes_are_read_or_refused(body, read):
    """No body ends a request with another error, which would be a 500."""
    with contextlib.suppress(BadRequest):
        made_of(body, read)


@patient
@given(st.binary(max_size=300), st.integers(0, 400), st.sampled_from(["gzip", "snappy"]))
def test_no_more_than_the_bound_is_unpacked(content, bytes_max, encoding):
    """A small body may say that it is large, or be."""
    packed = (
        cramjam.gzip.compress(content)
        if encoding == "gzip"
        else cramjam.snappy.compress_raw(content)
    )
    if len(content) > bytes_max:
        with pytest.raises(BodyTooLarge):
            unpacked(bytes(packed), encoding, bytes_max)
    else:
        assert unpacked(bytes(packed), encoding, bytes_max) == content


@patient
@given(st.binary(max_size=100), st.sampled_from(["gzip", "snappy"]))
def test_damaged_bodies_are_refused(packed, encoding):
    """As the fault of the request."""
    with contextlib.suppress(BadRequest, BodyTooLarge):
        unpacked(packed, encoding, 1 << 20)
