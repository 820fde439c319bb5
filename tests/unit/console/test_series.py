"""GET /api/series before ClickHouse is asked: who is refused, and why."""

from __future__ import annotations

import pytest

SERIES = "/api/series?model=m&metric=x"


async def test_without_a_token_there_is_no_answer(http):
    """Neither with a wrong one, nor with a cookie somebody made up."""
    assert (await http.get(SERIES)).status_code == 401
    for shown in ("Bearer x", "Basic Og==", "Bearer dia_00000000_" + "x" * 43):
        answer = await http.get(SERIES, headers={"Authorization": shown})
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    http.cookies.set("dia_session", "x" * 43)
    assert (await http.get(SERIES)).status_code == 401


async def test_a_bound_token_reads_its_tenant_only(http, bearer):
    """The tenant comes from the token; naming another one is refused, not ignored."""
    answer = await http.get(f"{SERIES}&tenant=globex", headers=bearer("read"))
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


async def test_a_token_for_all_has_to_name_a_tenant(http, bearer):
    """No tenant is never all tenants."""
    assert (await http.get(SERIES, headers=bearer("admin"))).status_code == 400


@pytest.mark.parametrize(
    "query",
    [
        "metric=x", "model=&metric=x", "model=m&metric=" + "x" * 129, "model=m&metric=%00",
        "model=m&metric=x&from=yesterday", "model=m&metric=x&step=1y", "model=m&metric=x&step=1s",
        "model=m&metric=x&from=now&to=-1h", "model=m&metric=x&from=-9999999999w",
        "model=m&metric=x&from=-300d&step=1m", "model=m&metric=x&format=xml",
        "model=m&metric=x&from=99999999999999999999",
    ],
)  # fmt: skip
async def test_a_parameter_that_means_nothing_is_named(http, bearer, query):
    """A guess would be an answer to another question."""
    answer = await http.get(f"/api/series?{query}", headers=bearer("read"))
    assert (answer.status_code, answer.json()["code"]) == (400, "unreadable")


async def test_a_shard_that_is_away_is_a_503_that_names_no_address(http, bearer):
    """Clients come back later; where servers stand is not their business."""
    answer = await http.get(SERIES, headers=bearer("read"))
    assert (answer.status_code, answer.json()["code"]) == (503, "shard_unavailable")
    assert answer.headers["retry-after"] == "5"
    assert "DIA_" not in answer.text
