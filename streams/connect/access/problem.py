"""Problem documents (RFC 9457) for refused requests."""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.responses import Response

from streams.connect.access.refusals import TooManyAttempts
from streams.core.errors import RequestRefused

MEDIA_TYPE = "application/problem+json"


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    retry_after_s: float | None = None,
    **extensions: Any,
) -> Response:
    """``code`` is stable, ``detail`` is for people."""
    headers = _headers(status, retry_after_s)
    return Response(document(status, code, detail, **extensions), status, headers, MEDIA_TYPE)


def document(status: int, code: str, detail: str, **extensions: Any) -> bytes:
    body = {
        "type": f"urn:dia:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
        **extensions,
    }
    return msgspec.json.encode(body)


def refusal(error: RequestRefused) -> Response:
    response = problem(error.status, error.code, str(error))
    response.headers.update(refusal_headers(error))
    return response


def refusal_headers(error: RequestRefused) -> dict[str, str]:
    """What a client obeys without reading the body."""
    headers = _headers(error.status, error.retry_after_s)
    if isinstance(error, TooManyAttempts):
        # Each attempt of a flood costs a connection.
        headers["Connection"] = "close"
    return headers


def _headers(status: int, retry_after_s: float | None) -> dict[str, str]:
    headers: dict[str, str] = {}
    if retry_after_s is not None:
        # Rounded up: a client that obeys must not be refused for a fraction of a second.
        headers["Retry-After"] = str(max(1, math.ceil(retry_after_s)))
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    return headers
