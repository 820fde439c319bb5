"""Simulated users of the console: they send the requests of real pages, and report every answer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.connect.access.tokens import Role, TokenFile
from streams.core.clock import SystemClock
from streams.core.settings import Settings
from streams.dev.bench.console_load import reader
from streams.dev.bench.console_load.child import ReadersTask, read_all
from streams.dev.bench.console_load.page_requests import PAGE_REQUESTS
from streams.dev.bench.console_load.reader import STREAM
from streams.dev.bench.console_load.record import ALL, lag_of, times_of
from streams.http.console.pages.bundle import FOLDER
from streams.http.console.pages.rendering import PAGES
from tests.listening import console, listening

SHARED_MODULES = {"letters": ["replay.js"]}
"""What a page's module leaves to another."""


@pytest.mark.parametrize("look", PAGE_REQUESTS, ids=lambda look: look.page)
def test_a_simulated_page_sends_the_requests_of_the_real_one(look):
    """Another load would say nothing about real browsers."""
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
    """A listening console, without ClickHouse."""
    with listening(lambda: console(Settings(home=str(home))), stop_timeout_s=1) as url:
        yield url


async def test_readers_report_response_times_and_every_error(served, home, monkeypatch):
    """Without ClickHouse some answers are 503 and others succeed: the report must show both."""
    monkeypatch.setattr(reader, "THINK_S", (0.0, 0.01))
    now_ms = SystemClock().now_ms()
    people = []
    for tenant, role in (("acme", Role.READ), (None, Role.ADMIN)):
        token = TokenFile.of(home).create(tenant=tenant, role=role, now_ms=now_ms)[1]
        people.append((token, "acme", tenant is not None))
    people.append(("dia_00000000_wrong", "acme", True))
    met = await read_all(ReadersTask(url=served, people=people, arrival_s=0.0, seconds=2.0, seed=1))
    assert {"/session", "/", "/overview", "/api/dlq/groups", STREAM} <= met.seconds.keys()
    assert met.errors["/api/names 503"] == len(met.seconds["/api/names"]) - _refused(met)
    assert met.errors["/overview 401"] > 0
    assert met.errors["/ 303"] > 0
    assert met.events >= 2
    assert met.unchanged > 0
    assert met.cpu_s > 0


def _refused(met) -> int:
    """The answers to a reader with a wrong token."""
    return met.errors.get("/api/names 401", 0)


def test_times_are_of_all_paths_but_the_stream():
    """The first event of a stream comes when there is one, so it is not a response time."""
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
    """The lag is a saw-tooth; only its median and the rest at the end are significant."""
    assert lag_of(lags, at_end, commit_events=100).grew is grew
