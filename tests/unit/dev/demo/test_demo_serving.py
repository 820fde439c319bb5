"""The demo that keeps running: its printed link signs a user in, and Ctrl-C ends all processes."""

from __future__ import annotations

import os
import re
import signal
import sys
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

from schemas.training import TrainingResult
from streams.connect.access.authentication import Authenticator
from streams.connect.access.tokens import TokenFile
from streams.core.clock import SystemClock, VirtualClock
from streams.core.errors import CommandError
from streams.dev.demo import serving
from streams.dev.demo.serving import MODELS, VERSIONS, trained_models

PLAYED = """
import pathlib, sys, time
pathlib.Path(sys.argv[1], "-".join(sys.argv[2:4])).write_text(str(__import__("os").getpid()))
print("listening on http://127.0.0.1:8481; metrics and probes on port 1", flush=True)
time.sleep(60)
"""


@pytest.fixture
def played(monkeypatch, tmp_path):
    """Each `dia` command is replaced by a process that prints its address and waits."""
    told = tmp_path / "told"
    told.mkdir()
    monkeypatch.setattr(serving, "DIA", (sys.executable, "-c", PLAYED, str(told)))
    monkeypatch.setattr(serving, "SHOW", (sys.executable, "-c", PLAYED, str(told), "show"))
    return told


def test_the_printed_link_signs_in_and_ctrl_c_ends_all_processes(played, tmp_path):
    """The printed link signs the user in as admin for a day; leaving the demo leaves no process."""
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        if "Ctrl-C" in text:
            os.kill(os.getpid(), signal.SIGINT)

    with serving.ServedDemo(tmp_path, seed=1, say=say) as served:
        served.open_console(os.environ)()
        served.serve(os.environ, Running())
    link = re.search(r"http\S+", said[0])
    assert link is not None
    assert urlsplit(link[0]).path == "/sign-in"
    (token,) = parse_qs(urlsplit(link[0]).fragment)["token"]
    holder = Authenticator(TokenFile.of(tmp_path)).token_of(
        f"Bearer {token}", SystemClock().now_ms()
    )
    assert (holder.role, holder.tenant) == ("admin", None)
    assert holder.expires_ms is not None
    started = {path.name: path.read_text() for path in played.iterdir()}
    assert "show" in started
    for pid in (int(text) for text in started.values() if text):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_part_that_ends_by_itself_ends_the_serving(played, monkeypatch, tmp_path):
    """The console must not show a pipeline that has ended."""
    with serving.ServedDemo(tmp_path, seed=1, say=lambda text: None) as served:
        served.open_console(os.environ)()
        monkeypatch.setattr(serving, "DIA", (sys.executable, "-c", "raise SystemExit(3)"))
        with pytest.raises(CommandError, match="exit code 3"):
            served.serve(os.environ, Running())
    with serving.ServedDemo(tmp_path, seed=1, say=lambda text: None) as served:
        served.open_console(os.environ)()
        with pytest.raises(CommandError, match="killed"):
            served.serve(os.environ, Running(CommandError("the worker was killed")))


class Running:
    """The demo's worker; with ``error``, it has ended."""

    def __init__(self, error: CommandError | None = None) -> None:
        self._error = error

    def check(self) -> None:
        if self._error is not None:
            raise self._error


class Child:
    """A producer as the demo sees it."""

    log = "feed.log"

    def __init__(self, life: int) -> None:
        self.life = life
        self.failed = False


async def test_a_feed_that_failed_in_an_outage_is_started_again():
    """After an outage of Kafka the demo showed a green pipeline without data, for ever."""
    clock, said, lives = VirtualClock(), list[str](), list[Child]()

    def start(life: int) -> Child:
        lives.append(Child(life))
        return lives[-1]

    feed = serving.Feed("feed-events", start, said.append, clock)
    feed.keep()
    assert [child.life for child in lives] == [0]
    lives[0].failed = True
    feed.keep()
    feed.keep()
    assert (len(lives), len(said)) == (1, 1)
    assert "feed.log" in said[0]
    await clock.advance(serving.FEED_AGAIN_S)
    feed.keep()
    feed.keep()
    assert [child.life for child in lives] == [0, 1]


def test_the_history_of_models_is_of_events_that_the_pipeline_accepts():
    """The demo must not make dead letters of its own."""
    lines = [msgspec.json.encode(event) for event in trained_models(1_800_000_000_000, 1)]
    events = [msgspec.json.decode(line, type=TrainingResult) for line in lines]
    assert len({event.result_id for event in events}) == len(events)
    assert [event.ts for event in events] == sorted(event.ts for event in events)
    assert {event.model_id for event in events} == {*MODELS}
    assert len(events) == len(MODELS) * (VERSIONS + 2)
