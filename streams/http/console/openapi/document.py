"""The OpenAPI description of the query API."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from streams.core.process.version import app_version
from streams.http.console.access.authorizer import CSRF_HEADER
from streams.http.console.access.sessions import COOKIE
from streams.http.console.openapi.paths import paths
from streams.http.openapi import TEXT, obj, problem

PROBLEMS = {
    "400": "A parameter or the body cannot be read, or the answer would be too large.",
    "401": "No valid token, and no session.",
    "403": "The token does not allow this, or speaks for another tenant; or another site asks.",
    "404": "There is no such thing, or none of this tenant.",
    "409": "A safety check refuses; `detail` says why, and what next.",
    "413": "The body is too large.",
    "415": "Another media type than JSON.",
    "429": "Too often: wait for `Retry-After` seconds.",
    "503": "What this is read from does not answer now, and nothing is kept of it.",
}


@lru_cache(maxsize=8)
def document(topics: tuple[str, ...]) -> dict[str, Any]:
    """OpenAPI 3.1, for an app with these topics."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "dia console",
            "version": app_version(),
            "description": "What the pipeline holds. A token that is bound to a tenant reads that "
            "tenant only; `degraded` marks an answer from a cache whose source is away.",
        },
        "security": [{"token": []}, {"session": []}],
        "paths": paths(topics),
        "components": {
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": COOKIE,
                    "description": f"Of POST /session. Unsafe requests also need {CSRF_HEADER}.",
                },
            },
            "schemas": {"Problem": _PROBLEM},
            "responses": {status: problem(text) for status, text in PROBLEMS.items()},
        },
    }


_PROBLEM = obj(
    {
        "type": TEXT,
        "title": TEXT,
        "status": {"type": "integer"},
        "code": TEXT,
        "detail": TEXT,
    }
)
