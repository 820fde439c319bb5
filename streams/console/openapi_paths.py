"""The paths of the OpenAPI description, by what they answer."""

from __future__ import annotations

from typing import Any

JSON = "application/json"
_READ = ("400", "401", "403", "429", "503")

TEXT: dict[str, Any] = {"type": "string"}
NAME: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": 128}
COUNT: dict[str, Any] = {"type": "integer", "minimum": 0}
FLAG: dict[str, Any] = {"type": "boolean"}
MOMENT: dict[str, Any] = {
    "type": "string",
    "description": "Seconds since the epoch, now, -6h, or 2026-05-01T12:00 (UTC).",
}


def maybe(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


def obj(required: dict[str, Any], **optional: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {**required, **optional}, "required": [*required]}


def array(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def read(required: dict[str, Any]) -> dict[str, Any]:
    """An answer that may come from a cache."""
    return obj({"as_of_ms": COUNT, "degraded": FLAG, **required})


def query(name: str, schema: dict[str, Any], *, required: bool = False) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": required, "schema": schema}


TENANT = {
    **query("tenant", NAME),
    "description": "Needed with a token for every tenant; else the token's own.",
}


def get(
    name: str,
    summary: str,
    answer: dict[str, Any],
    parameters: tuple[dict[str, Any], ...] = (),
    problems: tuple[str, ...] = _READ,
    media: dict[str, Any] | None = None,
) -> dict[str, Any]:
    content = {JSON: {"schema": answer}, **(media or {})}
    return {
        "operationId": name,
        "summary": summary,
        "parameters": [*parameters],
        "responses": {
            "200": {"description": summary, "content": content},
            "304": {"description": "The client has it (If-None-Match)."},
            **_problems(problems),
        },
    }


def _problems(statuses: tuple[str, ...]) -> dict[str, Any]:
    return {status: {"$ref": f"#/components/responses/{status}"} for status in statuses}


def post(
    name: str,
    summary: str,
    answers: dict[str, dict[str, Any] | None],
    body: dict[str, Any] | None = None,
    parameters: tuple[dict[str, Any], ...] = (),
    problems: tuple[str, ...] = (*_READ, "413", "415"),
) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": name,
        "summary": summary,
        "parameters": [*parameters],
        "responses": {
            **{status: _answer(summary, schema) for status, schema in answers.items()},
            **_problems(problems),
        },
    }
    if body is not None:
        described["requestBody"] = {"required": True, "content": {JSON: {"schema": body}}}
    return described


def _answer(summary: str, schema: dict[str, Any] | None) -> dict[str, Any]:
    if schema is None:
        return {"description": summary}
    return {"description": summary, "content": {JSON: {"schema": schema}}}


def paths() -> dict[str, Any]:
    return {**_sessions(), **_series(), **_open()}


def _sessions() -> dict[str, Any]:
    begin = post(
        "begin_session",
        "Sign in: the answer sets the session's cookie. A form is answered by a redirection.",
        {"204": None, "303": None},
        obj({"token": TEXT}),
        problems=("400", "401", "403", "413", "415", "503"),
    )
    shown = obj(
        {"token_id": TEXT, "role": {"enum": ["read", "operate", "admin"]}, "tenant": maybe(TEXT)},
        csrf=TEXT,
        ends_ms=COUNT,
    )
    end = post("end_session", "Sign out.", {"303": None}, problems=("400", "403", "413"))
    return {
        "/session": {
            "get": get("session", "Who is signed in.", shown),
            "post": {**begin, "security": []},
        },
        "/session/end": {"post": {**end, "security": []}},
    }


NUMBERS = array(maybe({"type": "number"}))
STATISTICS = obj(
    {
        "t": array(COUNT),
        **dict.fromkeys(
            ("count", "mean", "sd", "min", "max", "last", "p50", "p95", "p99"), NUMBERS
        ),
    }
)
FORMAT = query("format", {"enum": ["json", "csv"]})
CSV = {"text/csv; charset=utf-8": {"schema": TEXT}}


def _series() -> dict[str, Any]:
    answer = read(
        {
            **dict.fromkeys(("tenant", "model", "metric"), NAME),
            "table": {"enum": ["m1", "h1", "d1"]},
            **dict.fromkeys(("step_s", "from_s", "to_s"), COUNT),
            "columns": STATISTICS,
        }
    )
    given = (
        TENANT,
        query("model", NAME, required=True),
        query("metric", NAME, required=True),
        query("from", MOMENT),
        query("to", MOMENT),
        query("step", {"type": "string", "examples": ["1m", "1h"]}),
        FORMAT,
    )
    summary = "Statistics of one series per step, as `dia query series` gives them."
    return {"/api/series": {"get": get("series", summary, answer, given, media=CSV)}}


def _open() -> dict[str, Any]:
    anything = {"type": "object"}
    found = {
        "/healthz": {"get": get("health", "Whether requests are answered.", anything, (), ())},
        "/openapi.json": {"get": get("description", "This document.", anything, (), ())},
    }
    for path in found.values():
        path["get"]["security"] = []
    return found
