"""Answers to senders of metrics, as their protocols have them."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

import msgspec
from google.protobuf.any_pb2 import Any as AnyMessage
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceResponse,
)
from starlette.responses import Response

from streams.connect.access.problem import refusal_headers
from streams.core.errors import RequestRefused
from streams.http.edge.exchange import JSON, PROTOBUF
from streams.http.edge.metrics.lean_messages import declared
from streams.http.edge.metrics.point_events import PointEvents

_Status: Final = declared(
    "dia.google.rpc", (("Status", ((1, "code", "int64"), (2, "message", "string"),
                                   (3, "details", "bytes*"))),), "Status",
)  # fmt: skip
_BadRequest: Final = declared(
    "dia.google.rpc.details",
    (
        ("BadRequest", ((1, "field_violations", "FieldViolation*"),)),
        ("FieldViolation", ((1, "field", "string"), (2, "description", "string"))),
    ),
    "BadRequest",
)
"""The parts of google.rpc that are written: the package of its messages is not a dependency."""
_INVALID_ARGUMENT: Final = 3
_UNKNOWN: Final = 2


def exported(made: PointEvents, media: str) -> Response:
    """Of OTLP: full or partial success."""
    why = made.refused.text(made.points)
    if media == JSON:
        partial = {"rejectedDataPoints": str(made.refused.total), "errorMessage": why}
        content = msgspec.json.encode({"partialSuccess": partial} if why else {})
        return Response(content, media_type=JSON)
    answer = ExportMetricsServiceResponse()
    if why:
        answer.partial_success.rejected_data_points = made.refused.total
        answer.partial_success.error_message = why
    return Response(answer.SerializeToString(), media_type=PROTOBUF)


def otlp_refusal(error: RequestRefused, media: str) -> Response:
    """A ``google.rpc.Status``."""
    message = f"{error.code}: {error}"
    bad = error.status == HTTPStatus.BAD_REQUEST
    code = _INVALID_ARGUMENT if bad else _UNKNOWN
    if media == JSON:
        content = msgspec.json.encode({"code": code, "message": message})
    else:
        said = _Status(code=code, message=message)
        if bad:
            detail = _BadRequest()
            detail.field_violations.add(description=message)
            held = AnyMessage(
                type_url="type.googleapis.com/google.rpc.BadRequest",
                value=detail.SerializeToString(),
            )
            said.details.append(held.SerializeToString())
        content = said.SerializeToString()
    return Response(content, error.status, refusal_headers(error), media)


def written(made: PointEvents) -> Response:
    """Of remote write. A 400 says which points were refused; the others are stored."""
    samples = made.points - made.refused.total
    headers = {
        "X-Prometheus-Remote-Write-Samples-Written": str(samples),
        "X-Prometheus-Remote-Write-Histograms-Written": "0",
        "X-Prometheus-Remote-Write-Exemplars-Written": "0",
    }
    why = made.refused.text(made.points)
    if not why:
        return Response(status_code=HTTPStatus.NO_CONTENT, headers=headers)
    return Response(f"{why}\n", HTTPStatus.BAD_REQUEST, headers, "text/plain")


def write_refusal(error: RequestRefused) -> Response:
    """A sentence: Prometheus logs its beginning."""
    return Response(f"{error.code}: {error}\n", error.status, refusal_headers(error), "text/plain")
