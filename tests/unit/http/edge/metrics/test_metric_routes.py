"""Answers of an edge to senders of metrics, and what is in the log then."""

from __future__ import annotations

import asyncio
import gzip
import json
import math
import struct

import cramjam
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceResponse,
)

from streams.connect.access.quotas import Quota, Quotas
from streams.connect.access.refusals import BodyTooLarge
from streams.core.clock import SystemClock, VirtualClock
from streams.core.errors import BrokerUnavailable
from streams.core.settings import Settings
from streams.http.edge.app import POINTS_RETRY_S
from streams.http.edge.metrics import series
from streams.http.edge.metrics.metric_intake import MetricIntake
from streams.http.edge.metrics.otlp_protobuf import read_protobuf
from streams.http.edge.metrics.remote_write import read_v2
from streams.http.edge.metrics.series import MetricNames
from tests import metric_requests
from tests.metric_requests import NOW_NS, as_json, made_of, request_of
from tests.prometheus_requests import Request, WriteRequest

OTLP, WRITE = "/v1/metrics", "/api/v1/write"
PROTOBUF = {"Content-Type": "application/x-protobuf"}
JSON = {"Content-Type": "application/json"}
SNAPPY = {**PROTOBUF, "Content-Encoding": "snappy"}
V2 = {
    "Content-Type": "application/x-protobuf;proto=io.prometheus.write.v2.Request",
    "Content-Encoding": "snappy",
}
STALE = struct.unpack("<d", (0x7FF0000000000002).to_bytes(8, "little"))[0]


def _write(*values: float, **labels: str) -> bytes:
    request, now_ms = WriteRequest(), SystemClock().now_ms()
    one = request.timeseries.add()
    for name, value in {"__name__": "up", "job": "node", **labels}.items():
        one.labels.add(name=name, value=value)
    for place, value in enumerate(values):
        one.samples.add(value=value, timestamp=now_ms + place)
    return bytes(cramjam.snappy.compress_raw(request.SerializeToString()))


async def _settled(log, count: int):
    """The log, once the lanes hold no blocks."""
    async with asyncio.timeout(200):
        while len(log()) < count:  # noqa: ASYNC110 - a log has no notification
            await asyncio.sleep(0.01)
    return log()


async def _values(log, count: int) -> list[float]:
    return sorted(json.loads(value)["value"] for _, value in await _settled(log, count))


def _partial(answer):
    found = ExportMetricsServiceResponse.FromString(answer.content)
    return found.partial_success.rejected_data_points, found.partial_success.error_message


async def test_points_in_either_encoding_are_in_the_log(http, log):
    """Senders choose the encoding; the answer has that of the request and names no refusal."""
    request = request_of(1.5, 2.5)
    packed = gzip.compress(request.SerializeToString())
    for content, headers in (
        (request.SerializeToString(), PROTOBUF),
        (packed, {**PROTOBUF, "Content-Encoding": "gzip"}),
        (as_json(request), JSON),
    ):
        answer = await http.post(OTLP, content=content, headers=headers)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == headers["Content-Type"]
        assert answer.content in {b"", b"{}"}
    assert await _values(log, 6) == [1.5, 1.5, 1.5, 2.5, 2.5, 2.5]
    assert len({value for _, value in log()}) == 2
    event = json.loads(log()[0][1])
    assert (event["tenant_id"], event["model_id"], event["metric"]) == ("acme", "svc", "g")


async def test_a_foreign_tenant_is_refused_in_a_partial_success(http, log):
    """OTLP's senders repeat nothing of it, and say what the message says."""
    request = request_of(1, 2, tenant="globex")
    request.resource_metrics.extend(request_of(3, tenant="acme").resource_metrics)
    answer = await http.post(OTLP, content=request.SerializeToString(), headers=PROTOBUF)
    assert answer.status_code == 200
    rejected, why = _partial(answer)
    assert rejected == 2
    assert why.startswith("2 of 3 points were refused: 2 tenant_mismatch: resource attribute")
    assert await _values(log, 1) == [3]
    answer = await http.post(OTLP, content=as_json(request), headers=JSON)
    assert answer.json()["partialSuccess"]["rejectedDataPoints"] == "2"


async def test_with_a_token_of_every_tenant_the_resource_names_it(http, log, tokens):
    """A collector in front of all tenants has one token; a resource without a tenant is refused."""
    headers = {**PROTOBUF, "Authorization": f"Bearer {tokens['admin']}"}
    request = request_of(1, tenant="a")
    request.resource_metrics.extend(request_of(2, tenant="b").resource_metrics)
    request.resource_metrics.extend(request_of(3).resource_metrics)
    answer = await http.post(OTLP, content=request.SerializeToString(), headers=headers)
    rejected, why = _partial(answer)
    assert (rejected, "missing_field: resource attribute dia.tenant (DIA_OTLP_TENANT)" in why) == (1, True)  # fmt: skip
    assert sorted(key for key, _ in await _settled(log, 2)) == [b"a", b"b"]


async def test_points_that_the_pipeline_would_refuse_are_counted(http, log):
    """Times are judged as those of posted events; after 1,000 refusals the rest is judged, too."""
    request = request_of(*range(1200))
    points = request.resource_metrics[0].scope_metrics[0].metrics[0].gauge.data_points
    for point in points[:1100]:
        point.time_unix_nano = 10**18
    answer = await http.post(OTLP, content=request.SerializeToString(), headers=PROTOBUF)
    rejected, why = _partial(answer)
    assert (rejected, "1100 timestamp_too_old" in why) == (1100, True)
    assert len(await _settled(log, 100)) == 100


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"content": b"\xff\xff"}, 400, "unreadable"),
        ({"content": b"{", "headers": JSON}, 400, "unreadable"),
        ({"headers": {"Content-Type": "text/plain"}}, 415, "unsupported_media"),
        ({"headers": {**PROTOBUF, "Content-Encoding": "br"}}, 415, "unsupported_media"),
        ({"headers": {**PROTOBUF, "Content-Encoding": "gzip"}}, 400, "unreadable"),
        ({"headers": {**PROTOBUF, "Authorization": "Bearer x"}}, 401, "unauthenticated"),
        ({"path": WRITE, "headers": PROTOBUF}, 415, "unsupported_media"),
        ({"path": WRITE, "headers": SNAPPY, "content": b"\xff" * 9}, 400, "unreadable"),
        ({"path": WRITE, "headers": {**SNAPPY, "Content-Type": JSON["Content-Type"]}}, 415, "unsupported_media"),
        ({"content": b" " * (3 << 20)}, 413, "body_too_large"),
        ({"content": gzip.compress(bytes(3 << 20)), "headers": {**PROTOBUF, "Content-Encoding": "gzip"}}, 413, "body_too_large"),
        ({"path": WRITE, "headers": SNAPPY, "content": bytes(cramjam.snappy.compress_raw(bytes(3 << 20)))}, 413, "body_too_large"),
    ],
)  # fmt: skip
async def test_each_refusal_has_its_status_and_code(http, log, change, status, code):
    """Senders decide by the status whether to repeat, people by the code; nothing is stored."""
    request = {"path": OTLP, "content": b"\n\x00", "headers": PROTOBUF, **change}
    answer = await http.post(
        request["path"], content=request["content"], headers=request["headers"]
    )
    assert answer.status_code == status
    assert f"{code}: ".encode() in answer.content
    assert log() == []


async def test_samples_of_prometheus_are_in_the_log(http, log):
    """Both versions; an answer has the counts that version 2.0 requires."""
    answer = await http.post(WRITE, content=_write(1, 2, instance="a:1"), headers=SNAPPY)
    assert (answer.status_code, answer.content) == (204, b"")
    counts = "x-prometheus-remote-write-{}-written"
    assert [answer.headers[counts.format(what)] for what in ("samples", "histograms", "exemplars")] == ["2", "0", "0"]  # fmt: skip
    request = Request(symbols=["", "__name__", "down", "job", "node"])
    one = request.timeseries.add(labels_refs=[1, 2, 3, 4])
    one.samples.add(value=3, timestamp=SystemClock().now_ms())
    packed = bytes(cramjam.snappy.compress_raw(request.SerializeToString()))
    assert (await http.post(WRITE, content=packed, headers=V2)).status_code == 204
    named = {
        json.loads(value)["metric"]: json.loads(value)["model_id"]
        for _, value in await _settled(log, 3)
    }
    assert named == {'up{instance="a:1"}': "node", "down": "node"}


async def test_stale_markers_are_no_values(http, log, process):
    """Prometheus writes one for each series that ended; as a value it would be a number."""
    answer = await http.post(WRITE, content=_write(1, STALE, math.nan), headers=SNAPPY)
    assert answer.status_code == 204
    assert await _values(log, 1) == [1]
    assert process.metrics.registry.get_sample_value("dia_edge_absent_points_total") == 2


async def test_refused_samples_are_an_error_and_the_others_are_stored(http, log):
    """Remote write has no partial success: a 400 is repeated by no sender."""
    answer = await http.post(WRITE, content=_write(1, math.inf), headers=SNAPPY)
    assert answer.status_code == 400
    assert answer.headers["x-prometheus-remote-write-samples-written"] == "1"
    assert answer.text == "1 of 2 points were refused: 1 non_finite: a value is infinite\n"
    assert await _values(log, 1) == [1]


async def test_labels_that_are_no_symbols_are_refused(http, log):
    """A damaged request of version 2.0 must not be read as another series."""
    request = Request(symbols=["", "__name__"])
    request.timeseries.add(labels_refs=[1, 9]).samples.add(value=3, timestamp=1)
    packed = bytes(cramjam.snappy.compress_raw(request.SerializeToString()))
    answer = await http.post(WRITE, content=packed, headers=V2)
    assert (answer.status_code, answer.text[:11]) == (400, "unreadable:")


@pytest.mark.parametrize("path", [OTLP, WRITE])
async def test_a_used_up_quota_is_answered_with_the_seconds_to_wait(http, process, path, tokens):
    """Senders of metrics repeat after 429, after the time in its header."""
    limits = dict.fromkeys(Quota, 1)
    edge = process._edge
    object.__setattr__(edge, "quotas", Quotas(VirtualClock(), edge.metrics, limits=limits))
    content, headers = (
        (request_of(1, 2).SerializeToString(), PROTOBUF) if path == OTLP else (_write(1, 2), SNAPPY)
    )
    answer = await http.post(path, content=content, headers=headers)
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) >= 1
    assert b"over_quota: more than 1 " in answer.content


async def test_points_that_can_not_be_stored_are_asked_for_again(http, process, log):
    """503, after which every sender repeats the same request."""
    process.intake.lanes["model.metrics"].keep = _away
    answer = await http.post(OTLP, content=request_of(1).SerializeToString(), headers=PROTOBUF)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) == POINTS_RETRY_S
    assert log() == []


async def _away(*args):
    raise BrokerUnavailable("away")


async def test_an_app_without_a_topic_of_metrics_has_no_route_for_them(http, process):
    """The setting names a topic of other events."""
    settings = Settings(metrics_topic="train.results")
    object.__setattr__(
        process._edge, "points", MetricIntake(settings, process.intake, process.metrics.edge)
    )
    answer = await http.post(OTLP, content=b"", headers=PROTOBUF)
    assert answer.status_code == 404
    assert b"DIA_METRICS_TOPIC=train.results" in answer.content


def test_a_request_makes_a_bounded_number_of_events():
    """A small body of histograms makes many; beyond the bound its sender gets an error that says to send less."""
    body = request_of(1, 2, 3, 4).SerializeToString()
    with pytest.raises(BodyTooLarge, match="at most 3 points"):
        made_of(body, read_protobuf, events_max=3)


@pytest.mark.parametrize(
    ("what", "body"),
    [("parts", b"\n\x00" * 101), ("points", request_of(*[math.nan] * 101).SerializeToString())],
)
def test_what_makes_no_event_is_bounded_too(what, body):
    """Four million bytes of empty messages took eight seconds of the loop."""
    assert made_of(body, read_protobuf, events_max=101).values == []
    with pytest.raises(BodyTooLarge, match="at most 100 points"):
        made_of(body, read_protobuf, events_max=100)


def test_a_repeated_symbol_counts_each_time():
    """A text of a megabyte under a hundred thousand series would be hashed for hours."""
    request = Request(symbols=["__name__", "x" * (1 << 20)])
    for _ in range(65):
        request.timeseries.add(labels_refs=[0, 1]).samples.add(value=1, timestamp=1)
    with pytest.raises(BodyTooLarge, match="repeated ones counted each time"):
        made_of(request.SerializeToString(), read_v2)


@pytest.mark.parametrize("what", ["name", "resource"])
def test_a_long_text_is_not_read_again_for_each_series(what, monkeypatch):
    """As a repeated symbol: a metric's name or a resource is sent once for many series."""
    request = request_of(**{"host.name": "h" * 100_000} if what == "resource" else {})
    metric = request.resource_metrics[0].scope_metrics[0].metrics[0]
    metric.name = "n" * (100_000 if what == "name" else 1)
    for number in range(100):
        point = metric.gauge.data_points.add(time_unix_nano=NOW_NS, as_double=1)
        point.attributes.add(key="k").value.int_value = number
    hashed = []
    whole = series.xxh3_128_hexdigest
    monkeypatch.setattr(
        series, "xxh3_128_hexdigest", lambda text: hashed.append(len(text)) or whole(text)
    )
    monkeypatch.setattr(metric_requests, "NAMES", MetricNames.of(Settings(otlp_labels="host.name")))
    made = made_of(request.SerializeToString(), read_protobuf)
    assert len({*made.values}) == len(hashed) == 100
    assert max(hashed) < 400
    assert max(map(len, made.values)) < 500


async def test_reading_parts_without_points_is_charged(http, process, tokens):
    """Else a tenant could use the processor without a limit."""
    answer = await http.post(OTLP, content=b"\n\x00" * 5000, headers=PROTOBUF)
    assert answer.status_code == 200
    rates = process.quotas._own[Quota.REFUSED_US]
    assert rates.wait_s("tenant acme", process.quotas._limits[Quota.REFUSED_US]) > 0
