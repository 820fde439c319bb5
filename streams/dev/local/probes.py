"""Checks in its own protocol, within a second, that a service serves."""

from __future__ import annotations

import http.client
import socket
import struct
from contextlib import closing

from streams.dev.local.ports import LOOPBACK

PROBE_TIMEOUT_S = 1.0

_API_VERSIONS = struct.pack(">hhih", 18, 0, 1, -1)
"""Kafka request header v1: api key 18, version 0, correlation id 1, no client id; no body."""
_KAFKA_ANSWER = struct.Struct(">iih")
"""length, correlation id, error code"""


def kafka_serves(port: int) -> bool:
    """Whether it answers ApiVersions without error; its listener opens earlier."""
    request = struct.pack(">i", len(_API_VERSIONS)) + _API_VERSIONS
    answer = _exchange(port, request, _KAFKA_ANSWER.size)
    if len(answer) < _KAFKA_ANSWER.size:
        return False
    _, correlation_id, error_code = _KAFKA_ANSWER.unpack(answer)
    return (correlation_id, error_code) == (1, 0)


def redis_serves(port: int) -> bool:
    return _exchange(port, b"PING\r\n", len(b"+PONG\r\n")) == b"+PONG\r\n"


def clickhouse_serves(port: int) -> bool:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=PROBE_TIMEOUT_S)
    with closing(connection):
        try:
            connection.request("GET", "/ping")
            response = connection.getresponse()
            return response.status == http.HTTPStatus.OK and response.read(16).startswith(b"Ok.")
        except (OSError, http.client.HTTPException):
            return False


def _exchange(port: int, request: bytes, answer_bytes: int) -> bytes:
    """b"" without an answer."""
    try:
        with socket.create_connection((LOOPBACK, port), PROBE_TIMEOUT_S) as connection:
            connection.sendall(request)
            answer = b""
            while len(answer) < answer_bytes:
                part = connection.recv(answer_bytes - len(answer))
                if not part:
                    break
                answer += part
            return answer
    except OSError:
        return b""
