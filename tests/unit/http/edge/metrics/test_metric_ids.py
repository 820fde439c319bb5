"""What tells two points apart, and what does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from streams.core.clock import SystemClock
from streams.http.edge.metrics.otlp_json import read_json
from streams.http.edge.metrics.otlp_protobuf import read_protobuf
from streams.http.edge.metrics.remote_write import read_v1
from tests.metric_requests import as_json, made_of, request_of
from tests.prometheus_requests import WriteRequest


def _metric(request: Any) -> Any:
    return request.resource_metrics[0].scope_metrics[0].metrics[0]


def _resource(request: Any) -> None:
    resource = request.resource_metrics[0].resource
    resource.attributes.add(key="service.instance.id").value.string_value = "2"


def _scope(request: Any) -> None:
    request.resource_metrics[0].scope_metrics[0].scope.name = "other"


def _scope_version(request: Any) -> None:
    request.resource_metrics[0].scope_metrics[0].scope.version = "2"


def _name(request: Any) -> None:
    _metric(request).name = "other"


def _kind(request: Any) -> None:
    points = _metric(request).gauge.data_points
    _metric(request).sum.data_points.extend(points)
    _metric(request).sum.aggregation_temporality = 1


def _attribute(request: Any) -> None:
    point = _metric(request).gauge.data_points[0]
    point.attributes.add(key="route").value.string_value = "/a"


def _nanosecond(request: Any) -> None:
    _metric(request).gauge.data_points[0].time_unix_nano += 1


def _value(request: Any) -> None:
    _metric(request).gauge.data_points[0].as_double = 7


def _unit(request: Any) -> None:
    _metric(request).unit = "s"


def _description(request: Any) -> None:
    _metric(request).description = "a text for people"


def _id(change: Callable[[Any], None] | None = None) -> str:
    request = request_of(1)
    if change is not None:
        change(request)
    (value,) = made_of(request.SerializeToString(), read_protobuf).values
    return json.loads(value)["event_id"]


@pytest.mark.parametrize(
    "part", [_resource, _scope, _scope_version, _name, _unit, _kind, _attribute, _nanosecond]
)
def test_points_of_another_series_or_time_have_another_id(part):
    """Two processes send one metric in the same nanosecond; as repeats one of them would vanish."""
    assert _id(part) != _id()


@pytest.mark.parametrize("read", [read_protobuf, read_json])
def test_a_sum_that_only_rises_is_another_series_than_one_that_may_fall(read):
    """OpenTelemetry counts that among what identifies a metric, as its unit."""

    def event_id(monotonic: bool) -> str:
        request = request_of(1)
        _kind(request)
        _metric(request).sum.is_monotonic = monotonic
        body = request.SerializeToString() if read is read_protobuf else as_json(request)
        (value,) = made_of(body, read).values
        return json.loads(value)["event_id"]

    assert event_id(True) != event_id(False)


@pytest.mark.parametrize("read", [read_protobuf, read_json])
@pytest.mark.parametrize(
    ("kind", "temporality", "apart"),
    [
        ("sum", 1, True),
        ("histogram", 1, True),
        ("exponential_histogram", 1, True),
        ("sum", 2, False),
        ("gauge", None, False),
    ],
)
def test_increases_of_two_periods_that_end_together_are_two(kind, temporality, apart, read):
    """As a repeat of the first, the second would vanish. A reading has no period."""

    def ids(start_ns: int) -> set[str]:
        request = request_of(1)
        (point,) = _metric(request).gauge.data_points
        end_ns = point.time_unix_nano
        _metric(request).ClearField("gauge")
        data = getattr(_metric(request), kind)
        if temporality is not None:
            data.aggregation_temporality = temporality
        made = data.data_points.add(time_unix_nano=end_ns, start_time_unix_nano=start_ns)
        if kind in {"sum", "gauge"}:
            made.as_int = 1
        else:
            made.count, made.sum = 1, 1.0
        body = request.SerializeToString() if read is read_protobuf else as_json(request)
        return {json.loads(value)["event_id"] for value in made_of(body, read).values}

    assert ids(7)
    assert (ids(7).isdisjoint(ids(8)), ids(7) == ids(8)) == (apart, not apart)


@pytest.mark.parametrize("part", [_value, _description])
def test_what_is_no_part_of_series_and_time_changes_no_id(part):
    """A repeat with another value must be found as a conflict, not counted beside the first."""
    assert _id(part) == _id()


@pytest.mark.parametrize("label", ["__name__", "job", "instance"])
def test_each_label_and_millisecond_of_prometheus_tells_ids_apart(label):
    """Two instances of a job are scraped in one millisecond."""
    now_ms = SystemClock().now_ms()

    def ids(at_ms: int = now_ms, **changed: str) -> str:
        request = WriteRequest()
        one = request.timeseries.add()
        for name, value in ({"__name__": "up", "job": "j", "instance": "a"} | changed).items():
            one.labels.add(name=name, value=value)
        one.samples.add(value=1, timestamp=at_ms)
        (value,) = made_of(request.SerializeToString(), read_v1).values
        return json.loads(value)["event_id"]

    assert len({ids(), ids(**{label: "other"}), ids(now_ms + 1)}) == 3
    assert ids() == ids()
