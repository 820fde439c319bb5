"""The crowd before the console: it asks what pages ask, and tells everything it met."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.connect.access.tokens import Role, TokenFile
from streams.core.clock import SystemClock
from streams.core.settings import Settings
from streams.dev.bench.crowd import reader
from streams.dev.bench.crowd.child import CrowdTask, read_all
from streams.dev.bench.crowd.looks import LOOKS
from streams.dev.bench.crowd.reader import STREAM
from streams.dev.bench.crowd.record import ALL, lag_of, times_of
from streams.http.console.pages.bundle import FOLDER
from streams.http.console.pages.rendering import PAGES
from tests.listening import console, listening

SHARED_MODULES = {"letters": ["replay.js"]}
"""What a page's module leaves to another."""


@pytest.mark.parametrize("look", LOOKS, ids=lambda look: look.page)
def test_a_look_asks_what_the_page_asks(look):
    """A load that no browser makes would prove nothing about those that do."""
    [page] = [page for page in PAGES if page.path == look.page]
    modules = [f"pages/{page.name}.js", *SHARED_MODULES.get(page.name, [])]
    text = "".join((FOLDER / module).read_text() for module in modules)
    asked = set(re.findall(r'\bget\("(/[^"]+)"', text)) - {"/api/dlq/letter"}
    assert set(look.paths) == asked


@pytest.fixture
def home(tmp_path) -> Path:
    return tmp_path


@pytest.fixture
def served(home) -> Iterator[str]:
    """A console that really listens, without ClickHouse."""
    with listening(lambda: console(Settings(home=str(home))), stop_timeout_s=1) as url:
        yield url


async def test_readers_tell_how_long_it_took_and_every_answer_that_was_an_error(
    served, home, monkeypatch
):
    """Without ClickHouse some answers are 503 and others good: neither may hide the other."""
    monkeypatch.setattr(reader, "THINK_S", (0.0, 0.01))
    now_ms = SystemClock().now_ms()
    people = []
    for tenant, role in (("acme", Role.READ), (None, Role.ADMIN)):
        token = TokenFile.of(home).create(tenant=tenant, role=role, now_ms=now_ms)[1]
        people.append((token, "acme", tenant is not None))
    people.append(("dia_00000000_wrong", "acme", True))
    met = await read_all(CrowdTask(url=served, people=people, arrival_s=0.0, seconds=2.0, seed=1))
    assert {"/session", "/", "/overview", "/api/dlq/groups", STREAM} <= met.seconds.keys()
    assert met.errors["/api/models 503"] == len(met.seconds["/api/models"]) - _refused(met)
    assert met.errors["/overview 401"] > 0
    assert met.errors["/ 303"] > 0
    assert met.events >= 2
    assert met.unchanged > 0
    assert met.cpu_s > 0


def _refused(met) -> int:
    """Answers to the one whose token is wrong."""
    return met.errors.get("/api/models 401", 0)


def test_times_are_of_all_paths_but_the_stream():
    """A stream's first event comes when there is one: it must not pass for an answer."""
    times = times_of({"/a": [0.1] * 19 + [0.3], "/b": [0.2], STREAM: [9.0]}, apart=STREAM)
    assert [one.path for one in times] == [ALL, STREAM, "/b", "/a"]
    assert (times[0].requests, times[0].p50_ms, times[0].p95_ms) == (21, 100.0, 200.0)
    assert times[0].max_ms == 300.0


@pytest.mark.parametrize(
    ("lags", "at_end", "grew"),
    [
        ([0, 50, 90, 60, 80, 70, 100, 90], 0, False),
        ([0, 50, 90, 60, 80, 300, 400, 500], 0, True),
        ([50, 60, 50, 60], 1, True),
        ([], 0, False),
    ],
)
def test_lag_that_goes_up_and_down_with_commits_does_not_grow(lags, at_end, grew):
    """It is a saw; only its middle line tells, and what is left when nothing comes any more."""
    assert lag_of(lags, at_end, commit_events=100).grew is grew
