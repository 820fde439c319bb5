"""Traces over HTTP on a memory broker: what each role may see."""

from __future__ import annotations

import pytest

from tests.unit.http.console.test_messages import write


async def traced(http, headers, text, **params):
    answer = await http.get("/api/trace", headers=headers, params={"id": text, **params})
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture
async def place(broker):
    tp = await write(broker, 3)
    return f"{tp}/0"


async def test_an_event_is_traced_by_its_place(http, bearer, place):
    """The same report as `dia trace --json`: verdict, steps, and what was searched."""
    found = await traced(http, bearer("read"), place)
    [record] = found["records"]
    assert (record["place"], record["verdict"]) == (place, "not read yet")
    assert [step["what"] for step in record["timeline"]][:3] == [
        "event time",
        "appended",
        "verdict",
    ]
    assert found["whole"]


async def test_another_tenants_event_is_as_unknown_as_none(http, bearer, place):
    """A trace must not reveal that an id exists."""
    for who in ("stranger", "read"):
        found = await traced(http, bearer(who), place if who == "stranger" else "none/0/0")
        assert (found["records"], found["dead_letters"], found["plans"]) == ([], [], [])
    answer = await http.get(
        "/api/trace", headers=bearer("stranger"), params={"id": place, "tenant": "acme"}
    )
    assert answer.status_code == 403


async def test_a_time_outside_of_the_search_finds_nothing_and_says_so(http, bearer, place):
    """Bounds are those of the command."""
    found = await traced(http, bearer("admin"), "acme", until="2001-01-01")
    assert found["records"] == []
    assert sum(one["wanted_to"] - one["from"] for one in found["searched"]) == 0
    assert (await traced(http, bearer("admin"), "acme", around="now"))["records"]


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({}, "id"),
        ({"id": "x" * 2000}, "id"),
        ({"id": "x", "around": "noon"}, "around"),
        ({"id": "x", "around": "now", "since": "-1h"}, "around"),
        ({"id": "x", "topic": "nowhere"}, "nowhere"),
    ],
)
async def test_an_unreadable_question_is_refused(http, bearer, params, said):
    """With the name of the parameter."""
    answer = await http.get("/api/trace", headers=bearer("admin"), params=params)
    assert answer.status_code == 400
    assert said in answer.json()["detail"]
