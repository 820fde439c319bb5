"""The OpenAPI description, from the topics and their published event schemas."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec

from streams.connect.access.problem import MEDIA_TYPE
from streams.connect.schema_registry.documents import document as schema_document
from streams.core.process.version import app_version
from streams.core.records.headers import TRACEPARENT, UNNAMED_VERSION
from streams.core.topics.topic import Topic
from streams.http.edge.exchange import EVENTS_MAX, JSON, NDJSON, SCHEMA_HEADER

_PROBLEMS = {
    "400": "The body or a parameter cannot be read.",
    "401": "No valid token.",
    "403": "The token does not allow this, or speaks for another tenant.",
    "404": "No such topic, or no such key.",
    "408": "The body did not come in time.",
    "413": "The body is too large, or holds too many events.",
    "415": "Another media type than JSON or NDJSON, or a compressed body.",
    "422": "No event was accepted; `rejected` says why. After 1000 refused events a body is left, "
    "and `not_judged` says how many at its end were not looked at.",
    "429": "A quota of the tenant is used up, too many wrong tokens came from this address, or a "
    "buffer is full: wait for `Retry-After` seconds.",
    "503": "It could not be stored, or read; events may be sent again as they are.",
}
_POST = ("400", "401", "403", "404", "408", "413", "415", "422", "429", "503")
_READ = ("400", "401", "403", "404", "429", "503")


@lru_cache(maxsize=8)
def document(topics: tuple[Topic, ...], body_bytes_max: int) -> dict[str, Any]:
    """OpenAPI 3.1; one path for each topic, with the schema of its events."""
    posts = {f"/v1/events/{topic.name}": _post(topic, body_bytes_max) for topic in topics}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "dia edge",
            "version": app_version(),
            "description": "Events over HTTP. An answer of 202 or 207 means that the accepted "
            "events are stored; sending one again is harmless, as its event id, or its bytes "
            "where it has none, are remembered.",
        },
        "security": [{"token": []}],
        "paths": {
            **posts,
            "/v1/simulations/{key}": {"get": _simulation()},
            "/healthz": {"get": _open("health", "Whether events are taken.")},
            "/openapi.json": {"get": _open("description", "This document.")},
        },
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {**_events(topics), **_ANSWERS},
            "responses": {status: _problem(text) for status, text in _PROBLEMS.items()},
        },
    }


@lru_cache(maxsize=8)
def encoded(topics: tuple[Topic, ...], body_bytes_max: int) -> bytes:
    return msgspec.json.encode(document(topics, body_bytes_max))


def _post(topic: Topic, body_bytes_max: int) -> dict[str, Any]:
    event = _event(topic)
    return {
        "post": {
            "operationId": f"post_{topic.schema}",
            "summary": f"Post events of {topic.name}.",
            "description": f"One event, an array of events, or lines of events: at most "
            f"{EVENTS_MAX} events and {body_bytes_max} bytes. The events of one request that are "
            "accepted are stored together, in their order.",
            "parameters": [
                {
                    "name": SCHEMA_HEADER,
                    "in": "header",
                    "description": "The schema version that the events are written with.",
                    "schema": {
                        "type": "integer",
                        "enum": sorted(topic.versions),
                        "default": UNNAMED_VERSION,
                    },
                },
                {
                    "name": TRACEPARENT,
                    "in": "header",
                    "description": "Of a W3C trace that follows these events, where the edge has "
                    "a collector (DIA_OTEL_ENDPOINT).",
                    "schema": {"type": "string"},
                },
            ],
            "requestBody": {
                "required": True,
                "content": {
                    JSON: {
                        "schema": {
                            "anyOf": [
                                event,
                                {
                                    "type": "array",
                                    "items": event,
                                    "minItems": 1,
                                    "maxItems": EVENTS_MAX,
                                },
                            ]
                        }
                    },
                    NDJSON: {"schema": {"type": "string"}},
                },
            },
            "responses": {
                "202": _content("Every event was accepted.", "Receipt"),
                "207": _content("Some events were accepted.", "Receipt"),
                **_problems(_POST),
            },
        }
    }


def _event(topic: Topic) -> dict[str, Any]:
    """A reference where the document names its type."""
    found = schema_document(topic, topic.latest)
    if "$defs" in found:
        return _ref(topic.type.__name__)
    return {name: value for name, value in found.items() if not name.startswith("$")}


def _simulation() -> dict[str, Any]:
    return {
        "operationId": "simulation",
        "summary": "The results of the requests with one idempotency key, oldest first.",
        "parameters": [
            {"name": "key", "in": "path", "required": True, "schema": _NAME},
            {
                "name": "tenant",
                "in": "query",
                "description": "Needed, and allowed, only with a token for every tenant.",
                "schema": _NAME,
            },
        ],
        "responses": {"200": _content("Its results.", "Simulation"), **_problems(_READ)},
    }


def _open(name: str, summary: str) -> dict[str, Any]:
    """A path without authentication."""
    content = {JSON: {"schema": {"type": "object"}}}
    return {
        "operationId": name,
        "summary": summary,
        "security": [],
        "responses": {"200": {"description": summary, "content": content}},
    }


def _events(topics: tuple[Topic, ...]) -> dict[str, Any]:
    """The published event schemas, with references into this document."""
    found: dict[str, Any] = {}
    for topic in topics:
        found |= _moved(schema_document(topic, topic.latest).get("$defs", {}))
    return found


def _moved(node: Any) -> Any:
    if isinstance(node, dict):
        return {
            name: value.replace("#/$defs/", "#/components/schemas/")
            if name == "$ref"
            else _moved(value)
            for name, value in node.items()
        }
    return [_moved(item) for item in node] if isinstance(node, list) else node


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _content(text: str, schema: str) -> dict[str, Any]:
    return {"description": text, "content": {JSON: {"schema": _ref(schema)}}}


def _problem(text: str) -> dict[str, Any]:
    return {"description": text, "content": {MEDIA_TYPE: {"schema": _ref("Problem")}}}


def _problems(statuses: tuple[str, ...]) -> dict[str, Any]:
    return {status: {"$ref": f"#/components/responses/{status}"} for status in statuses}


_NAME: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": 128}
_TEXT = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 0}


def _object(required: dict[str, Any], **optional: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {**required, **optional}, "required": [*required]}


_REJECTED = {
    "type": "array",
    "items": _object({"index": _COUNT, "code": _TEXT, "message": _TEXT, "path": _TEXT}),
}
_ANSWERS: dict[str, Any] = {
    "Receipt": _object(
        {
            "accepted": {"type": "integer", "minimum": 1},
            "stored": {"enum": ["log", "spool"]},
            "rejected": _REJECTED,
            "rejected_total": _COUNT,
            "not_judged": _COUNT,
        }
    ),
    "Problem": _object(
        {"type": _TEXT, "title": _TEXT, "status": _COUNT, "code": _TEXT, "detail": _TEXT},
        rejected=_REJECTED,
        rejected_total=_COUNT,
        not_judged=_COUNT,
    ),
    "Simulation": _object(
        {
            "tenant_id": _TEXT,
            "idempotency_key": _TEXT,
            "results": {
                "type": "array",
                "minItems": 1,
                "items": _object(
                    {
                        "request_id": _TEXT,
                        "model": _TEXT,
                        "scenario": _TEXT,
                        "priority": _COUNT,
                        "trials": _COUNT,
                        "status": {"enum": ["completed", "rejected", "failed", "cancelled"]},
                        "repeated": {"type": "boolean"},
                        "summary": {"type": "object"},
                        "error": {
                            "anyOf": [
                                {"type": "null"},
                                _object({"code": _TEXT, "message": _TEXT}),
                            ]
                        },
                        "requested_ts": _COUNT,
                        "started_ts": _COUNT,
                        "finished_ts": _COUNT,
                    }
                ),
            },
        }
    ),
}
