"""Converts an HTTP request into an engine task, within the front's limits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import web

from streams.dev.local.clickhouse_front import settings, statements
from streams.dev.local.clickhouse_front.compression import open_body, reply_encoding
from streams.dev.local.clickhouse_front.confinement import FILE_SYSTEM
from streams.dev.local.clickhouse_front.engine import Call
from streams.dev.local.clickhouse_front.errors import (
    BAD_ARGUMENTS,
    MEMORY_LIMIT_EXCEEDED,
    NOT_IMPLEMENTED,
    QUERY_IS_TOO_LARGE,
    StatementFailed,
)

_STREAMED = frozenset(
    {
        "Native",
        "TabSeparated",
        "TSV",
        "TabSeparatedRaw",
        "TSVRaw",
        "CSV",
        "JSONEachRow",
        "RowBinary",
    }
)
"""formats whose chunks can be concatenated"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontLimits:
    body_bytes: int = 128 << 20
    """one request body, decompressed"""
    bodies_bytes: int = 512 << 20
    """all request bodies in memory, as received"""
    result_bytes: int = 256 << 20
    """one result that is not streamed"""


class BodyBudget:
    """Refuses a body that does not fit in memory with the others (241)."""

    def __init__(self, limits: FrontLimits) -> None:
        self._limits = limits
        self._held_bytes = 0

    async def read(self, request: web.Request) -> bytes:
        """As received. Return its length with `release`."""
        parts: list[bytes] = []
        size = 0
        try:
            async for chunk in request.content.iter_chunked(1 << 20):
                size += len(chunk)
                self._held_bytes += len(chunk)
                parts.append(chunk)
                self._check(size)
        except BaseException:
            self.release(size)
            raise
        return b"".join(parts)

    def release(self, size: int) -> None:
        self._held_bytes -= size

    def _check(self, size: int) -> None:
        if size > self._limits.body_bytes:
            msg = f"The body is longer than {self._limits.body_bytes} bytes."
            raise StatementFailed(QUERY_IS_TOO_LARGE, msg)
        if self._held_bytes > self._limits.bodies_bytes:
            msg = f"Bodies in memory exceed {self._limits.bodies_bytes} bytes; send it again later."
            raise StatementFailed(MEMORY_LIMIT_EXCEEDED, msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    call: Call
    statement: statements.Statement
    output_format: str
    streamed: bool
    encoding: str | None
    """of the reply; None for a plain one"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestSources:
    query: Mapping[str, str]
    form: Mapping[str, str]
    headers: Mapping[str, str]


def task(
    sources: RequestSources,
    body: bytes,
    *,
    readonly: bool,
    defaults: Mapping[str, str],
    limits: FrontLimits,
) -> Task:
    """Decompress the body and parse the request; blocks. ``readonly``: a GET changes nothing."""
    query, headers = sources.query, sources.headers
    if "1" in {query.get("compress"), query.get("decompress")}:
        msg = "Native block compression is not served; use Content-Encoding."
        raise StatementFailed(NOT_IMPLEMENTED, msg)
    opened = open_body(body, headers.get("Content-Encoding", ""), limits.body_bytes)
    text = query.get("query") or sources.form.get("query", "")
    statement = statements.parse(text.encode(), opened)
    output_format = (
        statement.output_format
        or query.get("default_format")
        or headers.get("X-ClickHouse-Format")
        or "TabSeparated"
    )
    database = query.get("database") or headers.get("X-ClickHouse-Database") or None
    if database is not None and database.lower() == FILE_SYSTEM:
        # The client names no database, or creates its own; the engine's does not apply.
        database = None
    session_id = query.get("session_id") or None
    whole = query.get("wait_end_of_query", "0") not in {"0", "false"}
    asks_encoding = query.get("enable_http_compression", "0") not in {"0", "false"}
    return Task(
        call=Call(
            settings=settings.of_request(query, defaults, limits.result_bytes)
            | ({"readonly": "2"} if readonly and not session_id else {}),
            parameters=settings.parameters(query, sources.form),
            database=database,
            session_id=session_id,
            session_timeout_s=_seconds(query.get("session_timeout", "60")),
            session_check=query.get("session_check") == "1",
        ),
        statement=statement,
        output_format=output_format,
        streamed=(
            statement.kind is statements.StatementKind.SELECT
            and output_format in _STREAMED
            and not whole
        ),
        encoding=reply_encoding(headers.get("Accept-Encoding", "")) if asks_encoding else None,
    )


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not value >= 0:
        raise StatementFailed(BAD_ARGUMENTS, f"session_timeout={text} is not a number of seconds.")
    return value
