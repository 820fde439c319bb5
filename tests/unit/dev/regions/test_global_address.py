"""Clients of a drill: which region gets their events, and what is posted again."""

from __future__ import annotations

from dataclasses import dataclass

import httpx
import pytest

from streams.core.errors import CommandError
from streams.dev.regions.global_address import PATIENCE_S, GlobalAddress
from streams.dev.simulation.loop import LoopClock, VirtualLoop, run


@dataclass
class Edge:
    """The parts of a region that a client sees."""

    name: str
    token: str = "secret"

    @property
    def edge_url(self):
        return f"http://{self.name}"


class Edges:
    """``active`` answers 200 to the load balancer; ``answers`` are those to posts, in order."""

    def __init__(self, active, answers=(), lost=()):
        self.active, self.answers, self.lost = active, list(answers), set(lost)
        self.posted = []

    async def answer(self, request):
        name = request.url.host
        if name in self.lost:
            raise httpx.ConnectError("lost")
        if request.url.path == "/health/region":
            return httpx.Response(200 if name == self.active else 503)
        self.posted.append((name, request.content))
        return httpx.Response(self.answers.pop(0) if self.answers else 202)


def posted(edges, values):
    """Post ``values`` as one block in virtual time; return the clients."""
    loop = VirtualLoop()

    async def play():
        regions = [Edge("east"), Edge("west")]
        address = GlobalAddress(regions, LoopClock(loop), httpx.MockTransport(edges.answer))
        try:
            await (await address.send_many("t", [b"k"] * len(values), values))
        finally:
            await address.close()
        return address

    return run(loop, play())


def test_events_go_to_the_region_that_is_active():
    """A lost region answers nothing, and is passed."""
    edges = Edges("west", lost=["east"])
    address = posted(edges, [b"1", b"2"])
    assert edges.posted == [("west", b"1\n2")]
    assert address.accepted == {"east": 0, "west": 2}
    assert set(address.first_s) == {"west"}


def test_a_post_that_was_not_taken_is_posted_again_and_counted_once():
    """The edge of a region that has just lost its word refuses what its load balancer still led there."""
    edges = Edges("east", answers=[503, 429])
    assert posted(edges, [b"1"]).accepted["east"] == 1
    assert len(edges.posted) == 3


def test_an_answer_that_no_retry_mends_ends_the_drill():
    """A drill that posted for ever would hide a wrong token."""
    with pytest.raises(CommandError, match="401"):
        posted(Edges("east", answers=[401]), [b"1"])


def test_clients_give_up_when_no_region_is_active():
    """A failover that never ends is a bad drill, not one without an end."""
    with pytest.raises(CommandError, match=f"for {PATIENCE_S:g} s"):
        posted(Edges("none"), [b"1"])
