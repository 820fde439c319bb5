"""The published description compared with the routes, the schemas and real answers."""

from __future__ import annotations

import jsonschema_rs
import pytest
from starlette.routing import Match

from agents.app import app
from streams.connect.schema_registry.documents import document as schema_document
from streams.http.edge import openapi
from streams.http.edge.validator import topics_taken

BODY_BYTES = 1 << 20


@pytest.fixture
def described() -> dict:
    return openapi.document(tuple(topics_taken(app.topology).values()), BODY_BYTES)


def operations(described) -> set[tuple[str, str]]:
    return {
        (method.upper(), path) for path, methods in described["paths"].items() for method in methods
    }


def test_every_operation_has_a_route_and_every_route_an_operation(process, described):
    """A route without a description, or a description without a route, misleads clients."""
    routes = process.app().routes
    met = set()
    for method, path in operations(described):
        scope = {"type": "http", "method": method, "path": path.replace("{key}", "k")}
        found = [route for route in routes if route.matches(scope)[0] is Match.FULL]
        assert len(found) == 1, (method, path)
        met.add(found[0].path)
    assert met == {route.path for route in routes}
    posted = {path for method, path in operations(described) if method == "POST"}
    topics = {f"/v1/events/{topic}" for topic in topics_taken(app.topology)}
    assert posted == topics | {"/v1/metrics", "/api/v1/write"}


def test_event_schemas_are_those_that_are_published(described):
    """A generated client must accept exactly what `dia schemas` publishes."""
    schemas = described["components"]["schemas"]
    for topic in topics_taken(app.topology):
        declared = app.topics[topic]
        published = schema_document(declared, declared.latest)["$defs"][declared.type.__name__]
        assert schemas[declared.type.__name__] == published


def test_every_reference_exists(described):
    """A generator cannot read a document with a broken reference."""

    def references(node):
        if isinstance(node, dict):
            if "$ref" in node:
                yield node["$ref"]
            for child in node.values():
                yield from references(child)
        elif isinstance(node, list):
            for child in node:
                yield from references(child)

    found = set(references(described))
    assert found
    for reference in found:
        node = described
        for step in reference.removeprefix("#/").split("/"):
            node = node[step]


@pytest.mark.parametrize(
    ("lines", "status", "schema"),
    [
        ([{}], 202, "Receipt"),
        ([{}, {"value": "x"}], 207, "Receipt"),
        ([{"value": "x"}], 422, "Problem"),
        ([], 400, "Problem"),
    ],
)
async def test_answers_are_as_described(http, line, described, lines, status, schema):
    """The body fits the schema that is described for its status."""
    content = b"\n".join(line(**changes) for changes in lines)
    answer = await http.post(
        "/v1/events/model.metrics",
        content=content,
        headers={"Content-Type": "application/x-ndjson"},
    )
    assert answer.status_code == status
    assert str(status) in described["paths"]["/v1/events/model.metrics"]["post"]["responses"]
    whole = {**described, "$ref": f"#/components/schemas/{schema}"}
    jsonschema_rs.validate(whole, answer.json())


async def test_the_description_is_served(http):
    """Tools request it without a token."""
    answer = await http.get("/openapi.json", headers={"Authorization": ""})
    assert answer.json()["openapi"] == "3.1.0"
