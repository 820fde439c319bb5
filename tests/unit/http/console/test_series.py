"""GET /api/series before the query to ClickHouse: refusals and their reasons."""

from __future__ import annotations

import pytest

from streams.connect.cache import kind
from streams.core.clock import SystemClock
from streams.core.errors import ShardUnavailable
from streams.http.console.shards import ShardReader

SERIES = "/api/series?model=m&metric=x"


async def test_without_a_token_there_is_no_answer(http):
    """Neither a wrong token nor an invented cookie gets an answer."""
    assert (await http.get(SERIES)).status_code == 401
    for shown in ("Bearer x", "Basic Og==", "Bearer dia_00000000_" + "x" * 43):
        answer = await http.get(SERIES, headers={"Authorization": shown})
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    http.cookies.set("dia_session", "x" * 43)
    assert (await http.get(SERIES)).status_code == 401


async def test_a_bound_token_reads_its_tenant_only(http, bearer):
    """The tenant comes from the token; naming another one is refused."""
    answer = await http.get(f"{SERIES}&tenant=globex", headers=bearer("read"))
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


async def test_a_token_for_all_has_to_name_a_tenant(http, bearer):
    """A missing tenant must not mean all tenants."""
    assert (await http.get(SERIES, headers=bearer("admin"))).status_code == 400


@pytest.mark.parametrize(
    "query",
    [
        "metric=x", "model=&metric=x", "model=m&metric=" + "x" * 129,
        "model=m&metric=x&from=yesterday", "model=m&metric=x&step=1y", "model=m&metric=x&step=1s",
        "model=m&metric=x&from=now&to=-1h", "model=m&metric=x&from=-9999999999w",
        "model=m&metric=x&from=-300d&step=1m", "model=m&metric=x&format=xml",
        "model=m&metric=x&from=99999999999999999999",
    ],
)  # fmt: skip
async def test_an_invalid_parameter_is_named(http, bearer, query):
    """A guess would answer another query."""
    answer = await http.get(f"/api/series?{query}", headers=bearer("read"))
    assert (answer.status_code, answer.json()["code"]) == (400, "unreadable")


@pytest.mark.parametrize("name", ["a%00b", "%E2%80%AEevil", "%1b%5b2J"])
async def test_every_name_that_ingest_accepts_can_be_queried(http, bearer, name):
    """Otherwise a client could store series that cannot be queried."""
    answer = await http.get(f"/api/series?model={name}&metric=x", headers=bearer("read"))
    assert answer.json()["code"] == "shard_unavailable"


async def test_a_shard_that_is_away_is_a_503_that_names_no_address(http, bearer):
    """Clients retry later; addresses of servers are internal."""
    answer = await http.get(SERIES, headers=bearer("read"))
    assert (answer.status_code, answer.json()["code"]) == (503, "shard_unavailable")
    assert answer.headers["retry-after"] == "5"
    assert "DIA_" not in answer.text


@pytest.mark.parametrize("path", ["/api/series", "/api/range"])
async def test_the_last_hour_has_an_answer_during_an_outage(
    process, http, bearer, monkeypatch, path
):
    """During an outage "the last hour" still has its last answer, with the time of its read. Hours
    of other names have none.
    """
    away = False

    async def rows(self, reading):
        if away:
            raise ShardUnavailable("away")
        start_s = reading.query.start_s // 60 * 60
        return reading.points([[(start_s, 3, 1.5, 0.03, 1.0, 2.0, 1.5, [1059, 1073, 1073])]])

    monkeypatch.setattr(ShardReader, "of_windows", rows)
    ask = {"model": "m", "metric": "x", "from": "-1h"}
    first = (await http.get(path, params=ask, headers=bearer("read"))).json()
    later_ms = process.console.clock.now_ms() + 3_600_000
    monkeypatch.setattr(SystemClock, "now_ms", lambda self: later_ms)
    process._answers._fresh[kind.SERIES].clear()
    away = True
    second = (await http.get(path, params=ask, headers=bearer("read"))).json()
    assert second == {**first, "degraded": True}
    another = await http.get(path, params={**ask, "from": "-2h"}, headers=bearer("read"))
    assert another.status_code == 503
