"""ClickHouse settings of a request: the front's limits, then the request's."""

from __future__ import annotations

import re
from collections.abc import Mapping

from streams.core.rows.clickhouse_table import quoted as literal
from streams.dev.local.clickhouse_front.confinement import check_setting

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_PROTOCOL = frozenset(
    {
        "query", "database", "default_format", "session_id", "session_timeout", "session_check",
        "query_id", "user", "password", "quota_key", "role", "wait_end_of_query", "buffer_size",
        "compress", "decompress", "client_protocol_version", "stacktrace", "close_session",
        "send_progress_in_http_headers", "http_headers_progress_interval_ms",
        "enable_http_compression", "http_zlib_compression_level",
        "cancel_http_readonly_queries_on_client_close",
    }
)  # fmt: skip
"""URL parameters for the HTTP interface, not for the engine."""


def of_request(
    query: Mapping[str, str], defaults: Mapping[str, str], result_bytes: int
) -> dict[str, str]:
    """``defaults``, overridden by the URL's settings; results stay within ``result_bytes``. Raises
    `StatementFailed` above the shard's limit."""
    for name in query:
        if name != "max_result_bytes":
            check_setting(name, query[name])
    settings = {**defaults, **{name: query[name] for name in query if _is_setting(name)}}
    asked = settings.get("max_result_bytes", "0")
    within = asked.isdigit() and 0 < int(asked) <= result_bytes
    settings["max_result_bytes"] = asked if within else str(result_bytes)
    return settings


def _is_setting(name: str) -> bool:
    protocol = name in _PROTOCOL or name.startswith("param_")
    return not protocol and _NAME.match(name) is not None


def parameters(*sources: Mapping[str, str]) -> dict[str, str]:
    """The ``param_NAME`` values of a URL and of a form, by NAME."""
    return {
        name.removeprefix("param_"): value
        for source in sources
        for name, value in source.items()
        if name.startswith("param_")
    }


def set_clause(settings: Mapping[str, str]) -> str:
    """``a = '1', b = 'x'``: the body of a SET statement."""
    return ", ".join(f"{name} = {literal(value)}" for name, value in settings.items())


def quoted(name: str) -> str:
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"
