"""HTTP responses: JSON with an ETag, CSV, and problem documents."""

from __future__ import annotations

import csv
import io
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import msgspec
import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from streams.connect.access.problem import problem, refusal
from streams.connect.sinks.replica import UNKNOWN_TABLE, StatementRefused
from streams.core.clock import Clock
from streams.core.errors import (
    DiaError,
    PartitionRestart,
    RequestRefused,
    TransientError,
    UsageError,
)
from streams.core.telemetry.http_metrics import ConsoleMetrics
from streams.http.console.tagged_answer import TaggedAnswer, tag_of

log = structlog.get_logger(__name__)

Endpoint = Callable[[Request], Awaitable[Response]]

RETRY_S = 5.0
_SERVICES = {
    "broker_unavailable": "Kafka",
    "shard_unavailable": "ClickHouse",
    "cache_unavailable": "Redis",
    "sign_in_provider_unavailable": "The sign-in provider",
}
"""By error code."""
UNKNOWN_ROUTE = "unknown"
_TOO_MUCH = frozenset({158, 307, 396})
"""ClickHouse's codes of too many rows or bytes."""


def json(request: Request, content: Any, status: int = 200) -> Response:
    """``content``, already encoded if it is bytes. A GET with the client's current ETag gets
    304."""
    body = content if isinstance(content, bytes) else msgspec.json.encode(content)
    if request.method != "GET":
        return Response(body, status, media_type="application/json")
    tag = body.tag if isinstance(body, TaggedAnswer) else tag_of(body)
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if tag in [shown.strip() for shown in request.headers.get("if-none-match", "").split(",")]:
        return Response(None, 304, headers)
    return Response(body, status, headers, "application/json")


def csv_file(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Response:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows([[_cell(value) for value in row] for row in rows])
    return Response(text.getvalue(), media_type="text/csv; charset=utf-8")


def _cell(value: Any) -> Any:
    """A name that a spreadsheet would evaluate as a formula becomes text."""
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return value


def told(endpoint: Endpoint, route: str, clock: Clock, metrics: ConsoleMetrics) -> Endpoint:
    """``endpoint`` with errors as problem documents; responses are counted and timed."""

    async def answered(request: Request) -> Response:
        began_s = clock.monotonic()
        try:
            response = await endpoint(request)
        except (DiaError, StatementRefused) as error:
            response = _problem(error, route)
        except Exception:
            log.exception("console_failed", route=route)
            response = problem(500, "internal", "the console's log has the details")
        metrics.requests.labels(route, str(response.status_code)).inc()
        metrics.seconds.labels(route).observe(clock.monotonic() - began_s)
        return response

    return answered


def _problem(error: DiaError | StatementRefused, route: str) -> Response:
    """Messages with servers, files or addresses stay in the log."""
    log.info("console_refused", route=route, code=error.code, why=str(error))
    match error:
        case RequestRefused():
            return refusal(error)
        case UsageError():
            return problem(400, "unreadable", str(error))
        case StatementRefused():
            return _refused_statement(error)
        case TransientError() | PartitionRestart():
            service = _SERVICES.get(error.code, "A service")
            what = f"{service} does not answer now. Try again in some seconds."
            return problem(503, error.code, what, retry_after_s=RETRY_S)
    # A safety check, or a state that an operator has to resolve.
    return problem(409, error.code, str(error))


def _refused_statement(error: StatementRefused) -> Response:
    if error.code in _TOO_MUCH:
        what = "the answer would be too large: ask for a shorter range, or a longer step"
        return problem(400, "too_much", what)
    if error.code in UNKNOWN_TABLE:
        what = "a table of this app is not on the servers: `dia migrate apply` makes it"
        return problem(409, "table_missing", what)
    log.error("console_statement_refused", code=error.code, why=str(error))
    return problem(500, "internal", "the console's log has the details")


def teller_of_unknown(
    metrics: ConsoleMetrics, page: Callable[[Request], Response | None]
) -> Callable[[Request, Exception], Awaitable[Response]]:
    """The response to unknown paths and methods; counted under one route to bound the labels.
    ``page``: for a browser that asks for a page of this path."""

    async def tell(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code = "method_not_allowed" if error.status_code == 405 else "unknown_resource"
        shown = page(request) if error.status_code == 404 else None
        what = f"there is no {request.method} of this path"
        response = shown or problem(error.status_code, code, what)
        response.headers.update(error.headers or {})
        metrics.requests.labels(UNKNOWN_ROUTE, str(error.status_code)).inc()
        return response

    return tell
