"""Dead letters and replays over HTTP, on a memory broker: visibility by tenant, and the course of a
replay.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.app import app
from streams.connect.access.tokens import Role, TokenFile
from streams.connect.broker.memory.broker import MemoryBroker
from streams.core.clock import SystemClock
from streams.core.settings import Settings
from streams.core.telemetry.metrics import Metrics
from streams.http.console.dead_letters import cache, journals
from streams.http.console.dead_letters import letters as desk
from streams.http.console.serving import ConsoleProcess
from streams.operate.replay.agent.agent import ReplayAgent
from streams.operate.topics.topics import wanted_topics
from tests.unit.operate.dlq.mailbag import GOOD, fill, letter, six

MARKS = {"acme": b"acme-secret", "globex": b"globex-secret"}


def _of(offset: int, key: str, named: str, code: str = "retries_exhausted"):
    value = GOOD.replace(b'"acme"', b'"%s"' % named.encode())
    value = value.replace(b'"m"', b'"%s"' % MARKS[named])
    return letter(offset, value, code, f"key {key}, value {named}", key=key.encode())


@pytest.fixture
async def filled(broker):
    await fill(broker, *six())
    return broker


async def _json(http, path, headers, **params):
    answer = await http.get(path, headers=headers, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_groups_are_those_of_the_command(http, bearer, filled):
    """Browser and terminal show the same counts."""
    found = await _json(http, "/api/dlq/groups", bearer("admin"), by=["error", "tenant"])
    counted = {tuple(group["names"]): group["letters"] for group in found["groups"]}
    assert counted["wrong_type", "acme"] == 2
    assert (found["scanned"], found["complete"], sum(counted.values())) == (6, True, 6)
    one = await _json(http, "/api/dlq/groups", bearer("admin"), error="wrong_type", since="-100w")
    assert [group["letters"] for group in one["groups"]] == [2]


async def test_the_letters_of_a_group_are_those_that_its_names_select(http, bearer, broker):
    """Otherwise a click on a cause, then on Discard, decides of letters of other causes."""
    await fill(broker, *six(), letter(46, GOOD, "wrong_type", "$.ts: Expected `int`, got `str`"))
    by = ["error", "path", "agent"]
    found = await _json(http, "/api/dlq/groups", bearer("admin"), by=by)
    assert [group["names"][0] for group in found["groups"]].count("wrong_type") == 2
    for group in found["groups"]:
        error, path, agent = group["names"]
        asked = {"error": error, "path": path or "none", "agent": agent}
        answer = await http.get("/api/dlq/letters", headers=bearer("admin"), params=asked)
        assert answer.json()["total"] == group["letters"]
        body = {**{name: [one] for name, one in asked.items()}, "decision": "discard"}
        sure = {**body, "reason": "why", "expected": group["letters"]}
        answer = await http.post("/api/dlq/decisions", headers=bearer("admin"), json=sure)
        assert answer.json()["decided"] == group["letters"]


async def test_a_list_is_walked_page_by_page(http, bearer, filled):
    """Each dead letter appears once, whatever the page size."""
    for size in (1, 2, 4, 6, 500):
        seen, after = [], None
        while True:
            params = {"limit": size} | ({"after": after} if after else {})
            found = await _json(http, "/api/dlq/letters", bearer("admin"), **params)
            seen += [one["place"] for one in found["letters"]]
            assert len(found["letters"]) <= size
            if (after := found["next"]) is None:
                break
        assert len(seen) == len(set(seen)) == 6


async def test_one_letter_is_shown_whole(http, bearer, filled):
    """Decoded if possible, and always as bytes."""
    found = await _json(http, "/api/dlq/letter", bearer("read"), id="model.metrics/1/41")
    assert (found["path"], found["found"], found["passes_now"]) == ("$.value", "x", False)
    assert found["json"]["value"] == "x"
    raw = await _json(http, "/api/dlq/letter", bearer("admin"), id="model.metrics/1/43")
    assert (raw["text"], raw["json"]) == (None, None)
    assert raw["hex"] == [{"at": 0, "hex": "ff 00 7b", "text": "..{"}]


@pytest.mark.parametrize(
    "place", ["model.metrics/1/43", "model.metrics/1/99", "model.metrics/1/45"]
)
async def test_the_answer_for_a_foreign_dead_letter_does_not_reveal_its_existence(
    http, bearer, filled, place
):
    """An id of another tenant, of no tenant and an unknown id get the same answer."""
    answer = await http.get("/api/dlq/letter", headers=bearer("read"), params={"id": place})
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_resource")


owners = st.sampled_from(["acme", "globex"])


@given(st.lists(st.tuples(owners, owners), min_size=1, max_size=8))
@settings(max_examples=20, suppress_health_check=list(HealthCheck))
def test_a_tenant_sees_no_dead_letter_of_another_tenant(pairs):
    """By key or by value: groups, lists, dead letters and plans of a bound token contain all of its
    tenant's and none of another's.
    """
    asyncio.run(_met(pairs))


async def _met(pairs) -> None:
    clock = SystemClock()
    broker = MemoryBroker(clock)
    await (await broker.admin()).create_topics(wanted_topics(app.topology))
    await fill(broker, *(_of(n, key, named) for n, (key, named) in enumerate(pairs)))
    with tempfile.TemporaryDirectory() as home:
        _, token = TokenFile.of(Path(home)).create(
            tenant="acme", role=Role.OPERATE, now_ms=clock.now_ms()
        )
        served = ConsoleProcess(Settings(home=home), app, broker, clock, Metrics()).app()
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(served),
            base_url="http://console",
            headers={"Authorization": f"Bearer {token}"},
        ) as http:
            answers = [
                await http.get("/api/dlq/groups", params={"by": ["error", "tenant"]}),
                await http.get("/api/dlq/letters"),
                await http.post("/api/dlq/plans", json={}),
                *[
                    await http.get("/api/dlq/letter", params={"id": f"model.metrics/1/{n}"})
                    for n in range(len(pairs))
                ],
            ]
    mine = pairs.count(("acme", "acme"))
    assert all("globex" not in answer.text for answer in answers)
    assert len(answers[1].json()["letters"]) == mine
    assert sum(line["letters"] for line in answers[2].json()["errors"]) == mine
    shown = [answer.status_code for answer in answers[3:]]
    assert shown == [200 if pair == ("acme", "acme") else 404 for pair in pairs]


async def test_an_incomplete_scan_says_so(http, bearer, filled, monkeypatch):
    """The count of a part of the queue must not look like a total."""
    monkeypatch.setattr(desk, "SCANNED_MAX", 3)
    monkeypatch.setattr(desk, "_PAGE", 2)
    monkeypatch.setattr(cache, "OFFSETS_MAX", 0)
    found = await _json(http, "/api/dlq/groups", bearer("admin"))
    assert not found["complete"]
    page = await _json(http, "/api/dlq/letters", bearer("admin"))
    assert len(page["letters"]) < 6
    assert page["total"] is None
    assert page["next"] is not None


async def _plan(http, headers, **asked) -> dict:
    answer = await http.post("/api/dlq/plans", headers=headers, json=asked)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def test_a_plan_is_made_submitted_and_run_by_the_agent(
    http, bearer, filled, process, console_settings, tmp_path
):
    """From the browser to the log: the dead letter is replayed once, and the journal names the
    author. It decoded when it failed, so the plan does not count it as certain to pass.
    """
    made = await _plan(http, bearer("operate"), error=["retries_exhausted"])
    assert made["letters"] == 1
    assert [(line["replay"], line["passes"]) for line in made["errors"]] == [(1, 0)]
    path = f"/api/dlq/plans/{made['plan']}"
    assert (await http.get(path, headers=bearer("operate"))).status_code == 404
    stranger = await http.post(f"{path}/submit", headers=bearer("stranger"))
    assert stranger.status_code == 404
    submitted = await http.post(f"{path}/submit", headers=bearer("operate"))
    assert (submitted.status_code, submitted.json()["state"]) == (202, "entered")
    agent = ReplayAgent(
        filled,
        None,
        process.console.clock,
        replace(console_settings, fetch_timeout_s=0.01),
        "agent",
        app.topology,
    )
    running = asyncio.create_task(agent.run(lambda: None))
    async with asyncio.timeout(200):
        while (await _json(http, path, bearer("read")))["state"] != "finished":
            await process.console.clock.sleep(0.02)
    agent.stop()
    await running
    found = await _json(http, path, bearer("read"))
    assert (found["replayed"], found["to_go"], found["by_agent"]) == (1, 0, True)
    assert found["by"].startswith("token-")
    listed = await _json(http, "/api/dlq/plans", bearer("read"))
    assert [one["plan"] for one in listed["plans"]] == [made["plan"]]
    assert (await _json(http, "/api/dlq/plans", bearer("stranger")))["plans"] == []
    again = await http.post(f"{path}/submit", headers=bearer("operate"))
    assert again.status_code == 404
    noted = [
        json.loads(line)
        for line in next(tmp_path.glob("access/operations-*")).read_text().splitlines()
    ]
    assert [one["outcome"] for one in noted] == ["begun", "done"]


async def test_a_submitted_plan_is_confirmed_once_readers_see_it(http, bearer, filled, monkeypatch):
    """A broker answers a commit before readers see it: no plan may seem lost meanwhile."""
    made = await _plan(http, bearer("operate"))
    real, asked = journals.journals_in, []

    async def late(reader, topics, sources):
        asked.append(topics)
        return {} if len(asked) <= 2 else await real(reader, topics, sources)

    monkeypatch.setattr(journals, "journals_in", late)
    answer = await http.post(f"/api/dlq/plans/{made['plan']}/submit", headers=bearer("operate"))
    assert (answer.status_code, answer.json()["plan"]) == (202, made["plan"])
    assert len(asked) > 2


async def test_a_plan_is_paused_and_cancelled(http, bearer, filled):
    """A plan that has ended cannot be resumed."""
    made = await _plan(http, bearer("operate"), on_failure="park")
    path = f"/api/dlq/plans/{made['plan']}"
    await http.post(f"{path}/submit", headers=bearer("operate"))
    for word, state in (("pause", "paused"), ("resume", "entered"), ("cancel", "cancelled")):
        answer = await http.post(
            f"{path}/{word}", headers=bearer("operate"), json={"reason": "why"}
        )
        assert (answer.status_code, answer.json()["state"]) == (200, state)
    over = await http.post(f"{path}/resume", headers=bearer("operate"), json={})
    assert (over.status_code, over.json()["code"]) == (409, "refused_by_safety")


async def test_a_conflicting_plan_is_named_to_its_own_tenant_only(http, bearer, filled):
    """The plan's id and author belong to another tenant; the answer says only that the topic is
    taken.
    """
    mine, theirs, other = [
        await _plan(http, bearer(who), error=["retries_exhausted"])
        for who in ("operate", "admin", "admin")
    ]
    path = "/api/dlq/plans/{}/submit"
    first = await http.post(path.format(theirs["plan"]), headers=bearer("admin"))
    assert first.status_code == 202
    refused = await http.post(path.format(mine["plan"]), headers=bearer("operate"))
    assert (refused.status_code, refused.json()["code"]) == (409, "refused_by_safety")
    assert "another replay of model.metrics" in refused.json()["detail"]
    assert theirs["plan"] not in refused.text
    assert first.json()["by"] not in refused.text
    seen = await http.post(path.format(other["plan"]), headers=bearer("admin"))
    assert theirs["plan"] in seen.text


async def test_an_admin_repairs_with_a_patch(http, bearer, filled):
    """The differences are shown before the replay."""
    patch = [{"op": "replace", "path": "/value", "value": 2.5}]
    made = await _plan(http, bearer("admin"), error=["wrong_type"], patch=patch)
    assert made["letters"] == 2
    assert [(line["replay"], line["passes"]) for line in made["errors"]] == [(2, 2)]
    assert any("2.5" in text for text in made["differences"])
    wrong = await http.post(
        "/api/dlq/plans", headers=bearer("admin"), json={"patch": [{"op": "burn"}]}
    )
    assert wrong.status_code == 400


async def test_the_newest_dead_letters_come_first_with_their_number(http, bearer, filled):
    """What failed a minute ago is what an operator looks for."""
    found = await _json(http, "/api/dlq/letters", bearer("admin"), limit=4)
    failed = [one["failed_ms"] for one in found["letters"]]
    assert failed == sorted(failed, reverse=True)
    assert (found["total"], found["first"]) == (6, 1)
    rest = await _json(http, "/api/dlq/letters", bearer("admin"), limit=4, after=found["next"])
    assert (rest["first"], len(rest["letters"]), rest["next"]) == (5, 2, None)
    assert failed[-1] >= rest["letters"][0]["failed_ms"]
    for after in ("1:2", "x", "1:2:3:4", "1:2:" + "9" * 30):
        answer = await http.get(
            "/api/dlq/letters", headers=bearer("admin"), params={"after": after}
        )
        assert answer.status_code == 400
