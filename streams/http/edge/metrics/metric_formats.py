"""Which format a request of metrics has, by its headers."""

from __future__ import annotations

from typing import Final, NamedTuple

from starlette.requests import Request

from streams.connect.access.refusals import UnsupportedMedia
from streams.http.edge.exchange import JSON, PROTOBUF
from streams.http.edge.metrics.encodings import GZIP, IDENTITY, SNAPPY
from streams.http.edge.metrics.metric_intake import Reader
from streams.http.edge.metrics.otlp_json import read_json
from streams.http.edge.metrics.otlp_protobuf import read_protobuf
from streams.http.edge.metrics.remote_write import read_v1, read_v2

_WRITES: Final = {
    "prometheus.WriteRequest": read_v1,
    "io.prometheus.write.v2.Request": read_v2,
}


class Format(NamedTuple):
    encoding: str
    read: Reader


def otlp_media(request: Request) -> str:
    """That of the answer: JSON, unless the request is Protobuf."""
    return PROTOBUF if _media(request)[0] == PROTOBUF else JSON


def otlp_format(request: Request) -> Format:
    """Raises `UnsupportedMedia`."""
    media, _ = _media(request)
    if media not in {JSON, PROTOBUF}:
        raise UnsupportedMedia(f"Content-Type must be {PROTOBUF} or {JSON}")
    encoding = _encoding(request)
    if encoding not in {IDENTITY, GZIP}:
        raise UnsupportedMedia(f"Content-Encoding must be {GZIP}, or absent")
    return Format(encoding, read_json if media == JSON else read_protobuf)


def write_format(request: Request) -> Format:
    """Of remote write. Raises `UnsupportedMedia`."""
    media, parameters = _media(request)
    message = "prometheus.WriteRequest"
    for one in filter(None, parameters.split(";")):
        name, _, value = one.partition("=")
        if name.strip().lower() == "proto":
            message = value.strip().strip('"')
    if media != PROTOBUF or message not in _WRITES:
        raise UnsupportedMedia(
            f"Content-Type must be {PROTOBUF}, with ;proto= for one of {', '.join(_WRITES)}"
        )
    if _encoding(request) != SNAPPY:
        raise UnsupportedMedia(f"Content-Encoding must be {SNAPPY}")
    return Format(SNAPPY, _WRITES[message])


def _media(request: Request) -> tuple[str, str]:
    """In lower case, and its parameters."""
    media, _, parameters = request.headers.get("content-type", "").partition(";")
    return media.strip().lower(), parameters


def _encoding(request: Request) -> str:
    return request.headers.get("content-encoding", IDENTITY).strip().lower()
