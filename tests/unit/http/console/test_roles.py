"""Permissions: every path of the API with every kind of token."""

from __future__ import annotations

import pytest

from agents.app import app
from streams.http.console.app import api_routes
from streams.http.console.openapi import document as openapi

OPEN = {"/session", "/session/end", "/healthz", "/health/region", "/openapi.json"}
OPERATIONS = [
    (method, path)
    for path, methods in openapi.document(tuple(app.topics))["paths"].items()
    for method in methods
    if path not in OPEN
]
OWN = {"/api/views", "/api/views/delete"}
"""What these change is shown to the same token only."""
NEEDS_ADMIN = {
    "/admin/cache/invalidate",
    "/api/pipeline",
    "/api/data",
    "/api/capacity",
    "/api/capacity/forecast",
    "/api/topics/{topic}",
    "/api/shed/plan",
    "/api/shed/orders",
    "/api/shed/withdraw",
}


def _url(path: str) -> str:
    return path.replace("{plan}", "1-1").replace("{topic}", "model.metrics")


def test_served_paths_equal_the_described_ones(process):
    """Paths without a description would not be tested here."""
    served = {
        (method.lower(), route.path)
        for route in api_routes(process.console)
        for method in route.methods - {"HEAD"}
    }
    described = {
        (method, path)
        for path, methods in openapi.document(tuple(app.topics))["paths"].items()
        for method in methods
    }
    assert served == described


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
async def test_every_path_needs_a_token(http, method, path):
    """Not even whether a resource exists."""
    assert (await http.request(method, _url(path))).status_code == 401


@pytest.mark.parametrize(
    ("method", "path"), [one for one in OPERATIONS if one[0] == "post" and one[1] not in OWN]
)
async def test_a_reader_changes_nothing(http, bearer, method, path):
    """Read, operate, admin: each role includes the ones before it."""
    answer = await http.request(method, _url(path), headers=bearer("read"), json={})
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


@pytest.mark.parametrize("path", sorted(NEEDS_ADMIN))
async def test_paths_over_all_tenants_need_a_token_for_all(http, bearer, path):
    """Counters and patterns cover every tenant."""
    method = "get" if ("get", path) in OPERATIONS else "post"
    for name in ("read", "operate", "stranger"):
        answer = await http.request(method, _url(path), headers=bearer(name), json={})
        assert answer.status_code == 403


async def test_an_operator_of_a_tenant_cannot_patch(http, bearer):
    """A patch may write any tenant into a record."""
    for body in ({"patch": [{"op": "remove", "path": "/x"}]}, {"target": "train.results"}):
        answer = await http.post("/api/dlq/plans", headers=bearer("operate"), json=body)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


async def test_transforms_are_refused(http, bearer):
    """The command runs transforms of its user; a server would run those of its clients."""
    body = {"transform": "os:system"}
    answer = await http.post("/api/dlq/plans", headers=bearer("admin"), json=body)
    assert answer.status_code == 400


async def test_an_internal_error_goes_to_the_log_and_not_to_the_client(
    http, bearer, process, monkeypatch
):
    """A traceback shows values, which may be secrets."""

    async def broken(*given):
        raise RuntimeError("password=hunter2")

    monkeypatch.setattr(type(process.console.letters), "_decided", broken)
    answer = await http.get("/api/dlq/letters", headers=bearer("read"))
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "hunter2" not in answer.text


@pytest.mark.parametrize("path", ["/api/series/", "/overview/", "/healthz/", "/api/"])
async def test_a_trailing_slash_is_an_unknown_path(http, process, path):
    """A redirect behind a proxy that ends TLS would name http://: a token in clear text."""
    answer = await http.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "unknown_resource"
    counted = process.console.metrics.requests.labels("unknown", "404")
    assert counted._value.get() == 1


@pytest.mark.parametrize(
    "path",
    ["/api/series?model=m&metric=x", "/api/simulations?", "/api/models?", "/api/dlq/letters?"],
)
@pytest.mark.parametrize("who", ["read", "admin"])
async def test_an_empty_tenant_is_refused(http, bearer, path, who):
    """An empty tenant means neither every tenant nor the token's own."""
    answer = await http.get(f"{path}&tenant=", headers=bearer(who))
    assert (answer.status_code, answer.json()["code"]) == (400, "unreadable")
