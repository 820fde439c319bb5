"""The console's query API over real shards and Redis: right numbers, only the token's own tenant,
and no 5xx."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import Iterator
from dataclasses import replace

import httpx
import numpy as np
import pytest
import schemathesis
from hypothesis import HealthCheck, given
from hypothesis import settings as patience
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from agents.app import app
from streams.connect.access.tokens import Role, TokenFile
from streams.connect.sinks import schema
from streams.connect.sinks.clickhouse import ClickHouseShards
from streams.core.clock import SystemClock
from streams.http.console.openapi import document as openapi
from tests.depth import cases
from tests.listening import console, listening

pytestmark = pytest.mark.stack

MINE, OTHER = "console-acme", "console-globex"
VALUES = {MINE: np.array([1.0, 1.5, 2.0] * 40), OTHER: np.full(120, 7.77e30)}
HOUR_S, DAY_S = 3600, 86_400
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
SCHEMA = schemathesis.openapi.from_dict(openapi.document(tuple(app.topics)))
OPERATIONS = [
    found.ok()
    for found in SCHEMA.include(path_regex="^/(api|admin|overview|session)").get_all_operations()
]
_FACTS = (
    """
    INSERT INTO simulations_local
        (tenant, idempotency_key, request_id, model, scenario, status, summary)
    VALUES ('{tenant}', 'key-{tenant}', 'r', 'm', 's', 'completed', '{{"x": 1}}')
    """,
    """
    INSERT INTO models_local (tenant, model, card, ver) VALUES ('{tenant}', 'm',
    '{{"tenant_id":"{tenant}","model_id":"m","aliases":{{"a":"v-{tenant}"}}}}', 1)
    """,
    """
    INSERT INTO training_runs_local (tenant, model, version, run)
    VALUES ('{tenant}', 'm', 'v-{tenant}', 'run')
    """,
)


@pytest.fixture(scope="module")
def noon() -> int:
    """A complete past hour that is within the retention of every table."""
    return SystemClock().now_ms() // 1000 // HOUR_S * HOUR_S - 3 * HOUR_S


@pytest.fixture(scope="module")
def filled(settings, minutes_of, noon):
    """Two tenants with the same model and metric names, and different facts."""

    async def insert() -> None:
        shards = ClickHouseShards.from_settings(settings, SystemClock(), app.clickhouse_tables)
        for tenant, values in VALUES.items():
            shard = int(shards.maps[0].shard_of([tenant], ["m"], ["k"])[0])
            rows = minutes_of(tenant, noon, values, 0)
            await shards.insert(shard, [replace(rows, shard=shard)])
            await shards.roll_up(shard, "h1", noon)
            await shards.roll_up(shard, "d1", noon // DAY_S * DAY_S)
        await shards.close()

    asyncio.run(insert())
    [server, *others] = schema.servers(settings, app.clickhouse_tables)
    for tenant in VALUES:
        for statement in _FACTS:
            server.replica.command(statement.format(tenant=tenant))
    for one in (server, *others):
        one.replica.close()


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("console")


@pytest.fixture(scope="module")
def tokens(home) -> dict[str, str]:
    """Tokens by name: one for all tenants and one per tenant."""
    file, now_ms = TokenFile.of(home), SystemClock().now_ms()
    given_to = {None: Role.ADMIN, MINE: Role.OPERATE, OTHER: Role.OPERATE}
    return {
        tenant or "admin": file.create(tenant=tenant, role=role, now_ms=now_ms)[1]
        for tenant, role in given_to.items()
    }


@pytest.fixture(scope="module")
def served(settings, stack, filled, home, tokens) -> Iterator[str]:
    """The address of a console that listens, on an event loop of its own."""
    own = replace(settings, home=str(home), redis_url=stack.redis_url, console_requests=10_000_000)
    with listening(lambda: console(own)) as url:
        yield url


@pytest.fixture
def ask(served, tokens):
    """Send a request with a token."""
    with httpx.Client(base_url=served, timeout=30) as http:

        def get(name: str, path: str, **params):
            headers = {"Authorization": f"Bearer {tokens[name]}"}
            return http.get(path, headers=headers, params=params)

        yield get


def test_the_api_returns_the_numbers_of_the_command(ask, dia, noon):
    """The browser, the API and `dia query series` must agree."""
    span = {"from": str(noon), "to": str(noon + HOUR_S), "model": "m", "metric": "k"}
    code, out, err = dia(
        *("query", "series", "--tenant", MINE, "--model", "m", "--metric", "k", "-o", "csv"),
        *("--from", str(noon), "--to", str(noon + HOUR_S)),
    )
    assert code == 0, err
    assert ask(MINE, "/api/series", **span, format="csv").text == out.replace("\n", "\r\n")
    told = list(csv.DictReader(io.StringIO(out)))
    for table in ("m1", "h1"):
        found = ask(MINE, "/api/range", **span, table=table, buckets=4).json()
        [one] = found["series"]
        assert sum(one["columns"]["count"]) == sum(int(row["count"]) for row in told) == 120
        assert sum(map(sum, one["heatmap"]["counts"])) == 120
        assert (min(one["columns"]["min"]), max(one["columns"]["max"])) == (1.0, 2.0)


def test_an_unchanged_answer_is_not_sent_again(ask, served, tokens):
    """A page that refreshes costs only a header."""
    path = f"{served}/api/tenants"
    headers = {"Authorization": f"Bearer {tokens['admin']}"}
    first = httpx.get(path, headers=headers)
    assert set(first.json()["tenants"]) >= {MINE, OTHER}
    second = httpx.get(path, headers={**headers, "If-None-Match": first.headers["etag"]})
    assert (second.status_code, second.content) == (304, b"")


def test_an_administrator_can_empty_the_cache(ask, served, tokens):
    """An administrator who repaired rows must be able to show them at once."""
    headers = {"Authorization": f"Bearer {tokens['admin']}"}
    before = ask(MINE, "/api/models").json()
    body = {"cache": "catalog", "pattern": f"*:{MINE}/*"}
    gone = httpx.post(f"{served}/admin/cache/invalidate", headers=headers, json=body)
    assert gone.json()["names"] == 1
    after = ask(MINE, "/api/models").json()
    assert after["models"] == before["models"] == ["m"]
    assert after["as_of_ms"] > before["as_of_ms"]


PATHS = [
    "/overview", "/api/tenants", "/api/models", "/api/metrics", "/api/series", "/api/range",
    "/api/simulations", "/api/training", "/api/dlq/groups", "/api/dlq/letters", "/api/dlq/plans",
    "/api/pipeline", "/api/history", "/api/tenants/top", "/api/windows", "/api/names",
]  # fmt: skip
EVERYONES = {"/api/pipeline", "/api/history"}
"""Paths for a token of every tenant."""
TENANTLESS = {"/overview", "/api/tenants", "/api/tenants/top", "/api/dlq/plans", "/api/windows"}
"""Paths without a tenant: they concern the token itself."""
names = st.sampled_from(
    ["m", "k", "*", "%", "' OR 1=1 --", "\\' OR tenant != ''", "{tenant:String}"]
)
wanted = st.fixed_dictionaries(
    {
        "model": st.lists(st.just("m") | names, min_size=1, max_size=2),
        "metric": st.just("k") | names,
        "of": st.sampled_from(["model", "metric", "tenant"]),
    },
    optional={
        "tenant": st.sampled_from([MINE, OTHER, "", "*", f"{MINE}' OR '1'='1"]),
        "from": st.sampled_from(["-6h", "-30d", "now", "0"]),
        "step": st.sampled_from(["1m", "1h", "1d"]),
        "table": st.sampled_from(["m1", "h1", "d1"]),
        "buckets": st.sampled_from(["0", "8"]),
        "key": st.sampled_from([f"key-{MINE}", f"key-{OTHER}", "' OR 1=1 --"]),
        "scenario": names,
        "format": st.sampled_from(["json", "csv"]),
    },
)


def test_a_token_reads_no_row_of_another_tenant(ask):
    """On every path, cached or not, no name and no number of another tenant appears, and the
    token's own tenant does."""

    @patience(max_examples=cases(9), suppress_health_check=list(HealthCheck), deadline=None)
    @given(wanted)
    def no_row(path, params) -> None:
        ask("admin", path, **{**params, "tenant": OTHER})
        answer = ask(MINE, path, **params)
        assert answer.status_code in {200, 400, 403}, answer.text
        assert OTHER not in answer.text
        assert "e30" not in answer.text
        assert "e+30" not in answer.text
        named = params.get("tenant") or MINE
        assert named == MINE or answer.status_code != 200 or path in TENANTLESS

    for path in PATHS:
        no_row(path)
    assert ask(MINE, "/api/tenants").json()["tenants"] == [MINE]
    [one] = ask(MINE, "/api/simulations").json()["simulations"]
    assert one["idempotency_key"] == f"key-{MINE}"
    training = ask(MINE, "/api/training").json()
    assert training["models"][0]["aliases"] == {"a": f"v-{MINE}"}
    assert [event["version"] for event in training["events"]] == [f"v-{MINE}"]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda found: found.label)
def test_every_request_gets_a_documented_answer(served, tokens, operation):
    """Valid and invalid requests, generated from the API description, with a token for everything."""
    headers = {"Authorization": f"Bearer {tokens['admin']}"}
    strategy = st.one_of(*(operation.as_strategy(mode) for mode in GenerationMode))

    @patience(max_examples=cases(24), suppress_health_check=list(HealthCheck), deadline=None)
    @given(strategy)
    def fuzz(case) -> None:
        # The answer to a form is a redirection: that one must be documented.
        response = case.call(base_url=served, headers=headers, allow_redirects=False)
        case.validate_response(response, checks=CHECKS)

    fuzz()


def test_the_api_description_is_public(served):
    """It is served without a token, too."""
    assert json.loads(httpx.get(f"{served}/openapi.json").content)["openapi"] == "3.1.0"
