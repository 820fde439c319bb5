"""What becomes of events whose request was answered, refused, or not answered."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from streams.core.clock import SystemClock
from streams.operate.loadtest.event_template import MadeEvent
from streams.operate.loadtest.exactness import ExactnessCheck
from streams.operate.loadtest.http_target import HttpTarget
from tests.listening import listening

SERIES = ("acme", "m", "x")
EVENTS = [MadeEvent(b"{}", SERIES), MadeEvent(b"{}", SERIES)]


class _Surface:
    """Answers each post as told, and each question with the given ledger and rows."""

    def __init__(self):
        self.status, self.accepted, self.wait_s = 202, 2, 0.0
        self.applied, self.epoch, self.rows = 0, 0, 0
        self.degraded = False

    @asynccontextmanager
    async def opened(self):
        yield Starlette(
            routes=[
                Route("/v1/events/t", self.post, methods=["POST"]),
                Route("/api/series", self.series),
                Route("/api/pipeline", self.ledger),
                Route("/api/models", self.models),
            ]
        )

    async def post(self, request):
        await asyncio.sleep(self.wait_s)
        return JSONResponse({"accepted": self.accepted}, self.status)

    async def series(self, request):
        return JSONResponse({"columns": {"count": [self.rows]}})

    async def models(self, request):
        return JSONResponse({"degraded": self.degraded, "models": [{"name": '"degraded":true'}]})

    async def ledger(self, request):
        row = {"applied": self.applied, "dead": 0, "balanced": True, "epoch": self.epoch}
        one = {"topic": "t", "partition": 0, "ledger": row}
        return JSONResponse({"ledger_known": True, "partitions": [one]})


@pytest.fixture
def surface():
    return _Surface()


@pytest.fixture
def url(surface):
    with listening(surface.opened) as found:
        yield found


@pytest.mark.parametrize(
    ("status", "accepted", "code", "counted", "doubted"),
    [
        (202, 2, "", 2, 0),
        (207, 1, "rejected_events", 1, 0),
        (429, 0, "429", 0, 0),
        (502, 0, "502", 0, 2),
    ],
)
async def test_an_answer_says_what_is_stored(
    surface, url, status, accepted, code, counted, doubted
):
    """A proxy's 502 may come after the edge has stored the events; a 429 never does."""
    surface.status, surface.accepted = status, accepted
    async with HttpTarget(url, url, "token", 30.0, 4) as target:
        outcome = await target.post("t", EVENTS)
        counts = target.counts["t"]
    assert (outcome.code, outcome.events) == (code, counted)
    assert (counts.accepted, counts.in_doubt) == (counted, doubted)


async def test_events_without_an_answer_are_in_doubt(surface, url):
    """A timeout says nothing of what was stored: the exact number is then a range."""
    surface.wait_s = 5.0
    async with HttpTarget(url, url, "token", 0.05, 4) as target:
        outcome = await target.post("t", EVENTS)
        counts = target.counts["t"]
        assert (outcome.code, outcome.given_up) == ("timeout", True)
        assert (counts.accepted, counts.in_doubt, counts.doubted_series) == (0, 2, {SERIES})
    async with HttpTarget(url, "http://127.0.0.1:1", "token", 30.0, 4) as target:
        assert await target.read("/api/pipeline", {}) is None


async def _report(surface, url, applied, rows, shared=False, epoch=0):
    """After two accepted events."""
    async with HttpTarget(url, url, "token", 30.0, 4) as target:
        check = ExactnessCheck(target, SystemClock(), shared=shared, seed=1)
        await check.begin()
        await target.post("t", EVENTS)
        surface.applied, surface.rows, surface.epoch = applied, rows, epoch
        return await check.report(0.0, lambda: False)


@pytest.mark.parametrize(("applied", "rows"), [(2, 2), (1, 2), (3, 2), (2, 1), (2, 3)])
async def test_exact_means_each_event_once_in_ledger_and_rows(surface, url, applied, rows):
    """One lost and one doubled event must not pass for two counted ones."""
    found = await _report(surface, url, applied, rows)
    assert found.proven == (applied == rows == 2)


async def test_a_reset_partition_proves_nothing(surface, url):
    """Its counts began anew, so their rise is no number of events."""
    assert not (await _report(surface, url, 2, 2, epoch=1)).proven


async def test_of_shared_topics_only_rows_are_compared(surface, url):
    """Events of others are in the ledger, too, and no mistake."""
    found = await _report(surface, url, 99, 2, shared=True)
    assert found.proven
    assert "the ledger is not compared" in found.notes[0]


async def test_where_no_event_was_accepted_nothing_is_proven(surface, url):
    """An edge that refuses everything loses nothing, and counts nothing exactly."""
    surface.status = 429
    found = await _report(surface, url, applied=0, rows=0)
    assert not found.proven
    assert "no event was accepted" in found.notes[-1]


@pytest.mark.parametrize(("degraded", "code"), [(False, ""), (True, "degraded")])
async def test_an_old_answer_of_a_console_is_a_failure(surface, url, degraded, code):
    """While the store is away a console answers quickly, from what it keeps."""
    surface.degraded = degraded
    async with HttpTarget(url, url, "token", 30.0, 4) as target:
        assert (await target.ask("/api/models", {})).code == code
