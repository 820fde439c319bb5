"""Parts of the OpenAPI descriptions of the edge and the console."""

from __future__ import annotations

from typing import Any

from streams.connect.access.problem import MEDIA_TYPE

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
_READ = ("400", "401", "403", "429", "503")

POST_PROBLEMS = (*_READ, "413", "415")

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
    """A response that may come from a cache."""
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
            **problems_of(problems),
        },
    }


def problems_of(statuses: tuple[str, ...]) -> dict[str, Any]:
    return {status: {"$ref": f"#/components/responses/{status}"} for status in statuses}


def ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def problem(text: str) -> dict[str, Any]:
    return {"description": text, "content": {MEDIA_TYPE: {"schema": ref("Problem")}}}


def post(
    name: str,
    summary: str,
    answers: dict[str, dict[str, Any] | None],
    body: dict[str, Any] | None = None,
    parameters: tuple[dict[str, Any], ...] = (),
    problems: tuple[str, ...] = POST_PROBLEMS,
) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": name,
        "summary": summary,
        "parameters": [*parameters],
        "responses": {
            **{status: _answer(summary, schema) for status, schema in answers.items()},
            **problems_of(problems),
        },
    }
    if body is not None:
        described["requestBody"] = {"required": True, "content": {JSON: {"schema": body}}}
    return described


def _answer(summary: str, schema: dict[str, Any] | None) -> dict[str, Any]:
    if schema is None:
        return {"description": summary}
    return {"description": summary, "content": {JSON: {"schema": schema}}}


NUMBER: dict[str, Any] = maybe({"type": "number"})
