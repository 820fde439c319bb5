"""The routes of metrics in the OpenAPI description. Their formats are of other specifications."""

from __future__ import annotations

from typing import Any, Final

from streams.http.edge.exchange import JSON, PROTOBUF
from streams.http.openapi import TEXT, obj, ref

_BINARY: Final[dict[str, Any]] = {"type": "string", "format": "binary"}
_PLAIN: Final = "text/plain"
_REFUSALS: Final = {
    "400": "The body cannot be read; of remote write also: samples were refused, the others are stored.",
    "401": "No valid token.",
    "403": "The token does not allow this.",
    "404": "The app has no topic of metrics (DIA_METRICS_TOPIC).",
    "413": "The body is too large, unpacked too, or makes too many events.",
    "415": "Another media type or encoding.",
    "429": "A quota of the tenant is used up, or a buffer is full: wait for `Retry-After` seconds.",
    "503": "It could not be stored: send the same request again after `Retry-After` seconds.",
}
SCHEMAS: Final[dict[str, Any]] = {
    "ExportMetricsServiceResponse": {
        "type": "object",
        "properties": {
            "partialSuccess": obj({}, rejectedDataPoints=TEXT, errorMessage=TEXT),
        },
    },
    "Status": obj({"code": {"type": "integer"}, "message": TEXT}),
}


def paths(body_bytes_max: int) -> dict[str, Any]:
    return {
        "/v1/metrics": {"post": _otlp(body_bytes_max)},
        "/api/v1/write": {"post": _remote_write(body_bytes_max)},
    }


def _otlp(body_bytes_max: int) -> dict[str, Any]:
    either = {JSON: {"schema": ref("Status")}, PROTOBUF: {"schema": _BINARY}}
    done = {JSON: {"schema": ref("ExportMetricsServiceResponse")}, PROTOBUF: {"schema": _BINARY}}
    return {
        "operationId": "post_otlp_metrics",
        "summary": "Metrics of OpenTelemetry, by OTLP/HTTP.",
        "description": f"An ExportMetricsServiceRequest, plain or gzip, of at most {body_bytes_max} "
        "bytes unpacked. Refused points are counted in `partialSuccess`.",
        "requestBody": {
            "required": True,
            "content": {JSON: {"schema": {"type": "object"}}, PROTOBUF: {"schema": _BINARY}},
        },
        "responses": {
            "200": {"description": "All points that are not refused are stored.", "content": done},
            **{
                status: {"description": text, "content": either}
                for status, text in _REFUSALS.items()
            },
        },
    }


def _remote_write(body_bytes_max: int) -> dict[str, Any]:
    refused = {_PLAIN: {"schema": TEXT}}
    return {
        "operationId": "post_remote_write",
        "summary": "Samples of Prometheus, by remote write 1.0 or 2.0.",
        "description": "A message in a block of Snappy, of at most "
        f"{body_bytes_max} bytes unpacked.",
        "requestBody": {"required": True, "content": {PROTOBUF: {"schema": _BINARY}}},
        "responses": {
            "204": {"description": "All samples are stored."},
            **{
                status: {"description": text, "content": refused}
                for status, text in _REFUSALS.items()
            },
        },
    }
