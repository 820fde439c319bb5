"""The OpenAPI description, from the topics and their published event schemas."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec

from streams.connect.schema_registry.documents import document as schema_document
from streams.core.process.version import app_version
from streams.core.records.headers import TRACEPARENT, UNNAMED_VERSION
from streams.core.topics.topic import Topic
from streams.http.edge.exchange import EVENTS_MAX, JSON, NDJSON, SCHEMA_HEADER
from streams.http.edge.metrics import openapi_paths
from streams.http.openapi import COUNT, NAME, TEXT, array, maybe, obj, problem, problems_of, ref

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
            **openapi_paths.paths(body_bytes_max),
            "/v1/simulations/{key}": {"get": _simulation()},
            "/healthz": {"get": _open("health", "Whether events are taken.")},
            "/health/region": {
                "get": _open("region", "Whether this region is active: 200 or 503.")
            },
            "/openapi.json": {"get": _open("description", "This document.")},
        },
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {**_events(topics), **_ANSWERS, **openapi_paths.SCHEMAS},
            "responses": {status: problem(text) for status, text in _PROBLEMS.items()},
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
                                {**array(event), "minItems": 1, "maxItems": EVENTS_MAX},
                            ]
                        }
                    },
                    NDJSON: {"schema": {"type": "string"}},
                },
            },
            "responses": {
                "202": _content("Every event was accepted.", "Receipt"),
                "207": _content("Some events were accepted.", "Receipt"),
                **problems_of(_POST),
            },
        }
    }


def _event(topic: Topic) -> dict[str, Any]:
    """A reference where the document names its type."""
    found = schema_document(topic, topic.latest)
    if "$defs" in found:
        return ref(topic.type.__name__)
    return {name: value for name, value in found.items() if not name.startswith("$")}


def _simulation() -> dict[str, Any]:
    return {
        "operationId": "simulation",
        "summary": "The results of the requests with one idempotency key, oldest first.",
        "parameters": [
            {"name": "key", "in": "path", "required": True, "schema": NAME},
            {
                "name": "tenant",
                "in": "query",
                "description": "Needed, and allowed, only with a token for every tenant.",
                "schema": NAME,
            },
        ],
        "responses": {"200": _content("Its results.", "Simulation"), **problems_of(_READ)},
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


def _content(text: str, schema: str) -> dict[str, Any]:
    return {"description": text, "content": {JSON: {"schema": ref(schema)}}}


_REJECTED = array(obj({"index": COUNT, "code": TEXT, "message": TEXT, "path": TEXT}))
_ANSWERS: dict[str, Any] = {
    "Receipt": obj(
        {
            "accepted": {"type": "integer", "minimum": 1},
            "stored": {"enum": ["log", "spool"]},
            "rejected": _REJECTED,
            "rejected_total": COUNT,
            "not_judged": COUNT,
        }
    ),
    "Problem": obj(
        {"type": TEXT, "title": TEXT, "status": COUNT, "code": TEXT, "detail": TEXT},
        rejected=_REJECTED,
        rejected_total=COUNT,
        not_judged=COUNT,
    ),
    "Simulation": obj(
        {
            "tenant_id": TEXT,
            "idempotency_key": TEXT,
            "results": {
                "type": "array",
                "minItems": 1,
                "items": obj(
                    {
                        "request_id": TEXT,
                        "model": TEXT,
                        "scenario": TEXT,
                        "priority": COUNT,
                        "trials": COUNT,
                        "status": {"enum": ["completed", "rejected", "failed", "cancelled"]},
                        "repeated": {"type": "boolean"},
                        "summary": {"type": "object"},
                        "error": maybe(obj({"code": TEXT, "message": TEXT})),
                        "requested_ts": COUNT,
                        "started_ts": COUNT,
                        "finished_ts": COUNT,
                    }
                ),
            },
        }
    ),
}
