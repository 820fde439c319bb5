"""Limits of one token's use of a console, and the share left to others."""

from __future__ import annotations

import asyncio

import pytest

from streams.connect.access.refusals import Overloaded
from streams.http.console import parameters
from streams.http.console.dead_letters import letters as letter_desk
from streams.http.console.dead_letters.plans import OWNER_DRAFTS_MAX
from streams.http.console.pages import live
from tests.unit.operate.dlq.mailbag import fill, six


@pytest.fixture
async def filled(broker):
    await fill(broker, *six())
    return broker


async def test_streams_of_unknown_plans_take_no_channel(http, bearer):
    """A hundred invented names must not block the live overview for all users."""
    for number in range(live.CHANNELS_MAX + 1):
        answer = await http.get(f"/live/plans/invented-{number}", headers=bearer("read"))
        assert answer.status_code == 404


def _watch(process, number: int, owner: str, what: str = "plan"):
    """A stream of a named resource, opened as by a request."""

    async def read() -> bytes:
        return b"{}"

    shown = process.live._stream(live.ChannelKey(owner, (what, str(number))), read, 1000.0)
    return aiter(shown.body_iterator)


class Watching:
    """Open streams."""

    def __init__(self, process) -> None:
        self.live = live.Live(process.console)
        self.streams = []

    async def opened(self, owner: str, number: int) -> None:
        stream = _watch(self, number, owner)
        await anext(stream)
        self.streams.append(stream)

    async def close(self) -> None:
        for stream in self.streams:
            await stream.aclose()


@pytest.mark.parametrize("things", [1, 1000])
async def test_streams_of_one_owner_leave_room_to_others(process, things):
    """Whether the owner watches one resource many times, or many resources."""
    watching = Watching(process)
    allowed = (live.WATCHERS_MAX if things == 1 else live.CHANNELS_MAX) // 2
    for number in range(allowed):
        await watching.opened("tenant greedy", number % things)
    with pytest.raises(Overloaded):
        await watching.opened("tenant greedy", allowed % things)
    await watching.opened("tenant modest", 1)
    await watching.close()
    assert not any(channel.watchers for channel in watching.live._channels.values())


async def _draft(http, headers) -> str:
    answer = await http.post("/api/dlq/plans", headers=headers, json={"error": []})
    assert answer.status_code == 201, answer.text
    return answer.json()["plan"]


async def test_drafts_of_one_tenant_replace_its_own(process, http, bearer, filled):
    """Two hundred drafts of one tenant must not end a draft that another is about to submit."""
    kept = await _draft(http, bearer("admin"))
    drafts = [await _draft(http, bearer("operate")) for _ in range(OWNER_DRAFTS_MAX + 2)]
    desk = process.console.plans
    assert desk._drafts.get(kept) is not None
    assert [desk._drafts.get(name) is None for name in drafts[:3]] == [True, True, False]


async def test_reads_of_one_tenant_leave_a_turn_to_another(process, http, bearer, filled):
    """Eight connections of one reader must not delay another's page for 24 s."""
    goes_on, began = asyncio.Event(), asyncio.Event()
    desk = process.console.letters
    pages = desk.pages

    async def slow(asked, *first):
        if asked.filters.owner == "acme":
            began.set()
            await goes_on.wait()
        async for page in pages(asked, *first):
            yield page

    desk.pages = slow
    asked = [
        asyncio.create_task(
            http.get("/api/dlq/letters", headers=bearer("read"), params={"limit": 1 + number})
        )
        for number in range(8)
    ]
    await began.wait()
    answer = await http.get("/api/dlq/letters", headers=bearer("stranger"))
    assert answer.status_code == 200
    assert not any(one.done() for one in asked)
    goes_on.set()
    assert {one.status_code for one in await asyncio.gather(*asked)} == {200}


async def test_dead_letters_are_decoded_outside_the_event_loop(
    process, http, bearer, filled, monkeypatch
):
    """Otherwise a long queue would delay all other requests."""
    aside = []
    to_thread = asyncio.to_thread

    async def noted(call, *given):
        aside.append(call.__name__)
        return await to_thread(call, *given)

    monkeypatch.setattr(letter_desk.asyncio, "to_thread", noted)
    for path in ("/api/dlq/letters", "/api/dlq/groups"):
        assert (await http.get(path, headers=bearer("read"))).status_code == 200
    assert {"letters", "select", "_count"} <= {*aside}


async def test_a_body_that_does_not_arrive_has_a_deadline(http, bearer, monkeypatch):
    """A pending request takes a connection from others."""
    monkeypatch.setattr(parameters, "BODY_TIMEOUT_S", 0.01)

    async def never():
        yield b"{"
        await asyncio.Event().wait()

    answer = await http.post(
        "/api/dlq/plans",
        headers={**bearer("operate"), "Content-Type": "application/json"},
        content=never(),
    )
    assert (answer.status_code, answer.json()["code"]) == (408, "body_timeout")
