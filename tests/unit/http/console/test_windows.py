"""Windows of any app through the query API: what is offered, who may see it, and what is asked."""

from __future__ import annotations

import httpx
import pytest

from streams.core.clock import SystemClock
from streams.core.telemetry.metrics import Metrics
from streams.http.console.serving import ConsoleProcess
from streams.http.console.shards import ShardReader
from tests.unit.engine.app.test_window_views import shop

SALES, MOVING = "windows=sales&account=a", "windows=moving&account=a&lane=7"


@pytest.fixture
def asked(monkeypatch):
    """Questions that reached the shards; each has one row of figures 1."""
    found = []

    async def of_windows(self, reading):
        found.append(reading)
        row = [0, 1, 1, True, *(1 for _ in reading._figures)]
        return reading.points([[row]])

    async def of_all(self, sql, parameters, *, owner=None):
        found.append((" ".join(sql.split()), dict(parameters), owner))
        return [[7], [3]]

    monkeypatch.setattr(ShardReader, "of_windows", of_windows)
    monkeypatch.setattr(ShardReader, "of_all", of_all)
    return found


@pytest.fixture
async def http(console_settings, tokens, broker):
    process = ConsoleProcess(console_settings, shop(), broker, SystemClock(), Metrics())
    transport = httpx.ASGITransport(process.app(), raise_app_exceptions=True)
    async with httpx.AsyncClient(transport=transport, base_url="http://console") as client:
        yield client


async def _get(http, path, headers, status=200):
    answer = await http.get(path, headers=headers)
    assert answer.status_code == status, answer.text
    return answer.json()


async def test_windows_without_a_tenant_are_for_tokens_of_every_tenant(http, bearer, asked):
    """Their rows are of all tenants at once: a bound token neither finds nor reads them."""
    seen = await _get(http, "/api/windows", bearer("read"))
    assert [one["name"] for one in seen["windows"]] == ["sales"]
    for path in (
        f"/api/range?{MOVING}",
        f"/api/series?{MOVING}",
        "/api/names?windows=moving&of=lane",
    ):
        assert (await _get(http, path, bearer("read"), 403))["code"] == "forbidden"
    assert asked == []
    every = await _get(http, "/api/windows", bearer("admin"))
    assert [one["name"] for one in every["windows"]] == ["sales", "moving", "visits"]
    assert (await _get(http, f"/api/range?{MOVING}", bearer("admin")))["series"][0]["lane"] == 7
    assert asked[0].owner == ""


async def test_a_tenant_reads_its_own_windows_only(http, bearer, asked):
    """The tenant of the question is that of the token, whatever the address says."""
    answer = await _get(http, f"/api/range?{SALES}", bearer("read"))
    assert (answer["tenant"], asked[0].owner, asked[0]._question.key) == (
        "acme",
        "acme",
        ("acme", "a"),
    )
    await _get(http, f"/api/range?{SALES}&tenant=globex", bearer("read"), 403)
    await _get(http, f"/api/range?{SALES}", bearer("admin"), 400)
    assert len(asked) == 1


async def test_an_answer_has_the_keys_and_figures_that_were_asked_for(http, bearer, asked):
    """As lists by name, so that a reader needs no order of columns."""
    path = f"/api/range?{SALES}&account=b&figure=total&figure=n&from=-1h"
    answer = await _get(http, path, bearer("read"))
    assert answer["figures"] == ["n", "total"]
    assert [(one["account"], [*one["columns"]]) for one in answer["series"]] == [
        ("a", ["t", "closed", "n", "total"]),
        ("b", ["t", "closed", "n", "total"]),
    ]
    one = await _get(http, f"/api/series?{SALES}&figure=n", bearer("read"))
    assert (one["windows"], one["account"], one["step_s"]) == ("sales", "a", 10)


async def test_a_long_range_is_read_from_a_roll_up_and_says_what_it_leaves_out(http, bearer, asked):
    """A year of ten seconds is more than a chart shows; figures that do not merge are named, not wrong."""
    answer = await _get(http, f"/api/range?{SALES}&from=-12h", bearer("read"))
    assert (answer["table"], answer["step_s"], answer["left_out"]) == ("sales_1m", 60, [])
    answer = await _get(http, f"/api/range?{SALES}&from=-30d", bearer("read"))
    assert answer["step_s"] % 60 == 0
    assert answer["left_out"] == ["q_50", "q_99", "people", "top", "top_n"]


@pytest.mark.parametrize("path", ["/api/range", "/api/series"])
async def test_an_answer_names_what_it_leaves_out_of_its_own_question(http, bearer, asked, path):
    """Two questions with the same figures left may have asked for different ones; an answer is kept for each."""
    long = f"{path}?{SALES}&step=30s&figure=n"
    assert (await _get(http, long, bearer("read")))["left_out"] == []
    assert (await _get(http, f"{long}&figure=q_50", bearer("read")))["left_out"] == ["q_50"]


async def test_a_number_that_a_browser_would_round_is_a_text(http, bearer, asked, monkeypatch):
    """Explore would ask for the windows of another key, and show them under the wrong one."""
    large = (1 << 53) + 1

    async def of_all(self, sql, parameters, *, owner=None):
        return [[large], [7], [-large]]

    monkeypatch.setattr(ShardReader, "of_all", of_all)
    answer = await _get(http, "/api/names?windows=moving&of=lane", bearer("admin"))
    assert answer["names"] == [str(-large), 7, str(large)]
    moving = f"windows=moving&account=a&lane={large}"
    answer = await _get(http, f"/api/range?{moving}", bearer("admin"))
    assert answer["series"][0]["lane"] == str(large)
    assert (await _get(http, f"/api/series?{moving}", bearer("admin")))["lane"] == str(large)
    assert [one._question.key for one in asked] == [("a", large)] * 2


async def test_names_of_a_dimension_are_read_beside_the_chosen_others(http, bearer, asked):
    """Of its longest windows, and of the token's tenant."""
    answer = await _get(http, "/api/names?windows=sales&of=account", bearer("read"))
    assert answer["names"] == [3, 7]
    sql, given, owner = asked[0]
    assert "FROM sales_1m_local WHERE has({d0:Array(String)}, `tenant_id`)" in sql
    assert (given, owner) == ({"d0": ["acme"]}, "acme")
    await _get(http, "/api/names?windows=moving&of=lane&account=a", bearer("admin"))
    assert asked[1][1] == {"d0": ["a"]}


@pytest.mark.parametrize(
    "query",
    [
        "windows=m1&account=a", "windows=sales", "windows=sales&account=", f"{SALES}&figure=x",
        f"{SALES}&table=moving", f"{SALES}&step=7s", f"{SALES}&from=now&to=-1h", f"{MOVING}x",
        f"{MOVING}&step=10s", f"{MOVING}&from=-30d", f"{SALES}&step=30s&figure=q_50",
        "windows=sales&" + "&".join(f"account={n}" for n in range(9)),
    ],
)  # fmt: skip
async def test_an_invalid_question_is_refused_before_it_is_asked(http, bearer, asked, query):
    """A guess would answer another question."""
    answer = await _get(http, f"/api/range?tenant=acme&{query}", bearer("admin"), 400)
    assert answer["code"] == "unreadable"
    assert asked == []


async def test_explore_is_a_page_of_every_app_that_declares_windows(http, bearer):
    """It needs no table of the built-in app."""
    answer = await http.get("/explore", headers=bearer("admin"))
    assert answer.status_code == 200
