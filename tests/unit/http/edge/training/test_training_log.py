"""Metrics of training code: what is logged reaches the edge once, and logging never waits for it."""

from __future__ import annotations

import asyncio
import json
import os
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams import TrainingLog
from streams.connect.access.refusals import Forbidden, NotStored, OverQuota
from streams.core.clock import VirtualClock
from streams.http.edge.client import Posted
from streams.http.edge.training import training_log
from streams.http.edge.training.frames import ROW, RowFrame, SenderConfig, frames, name_record
from streams.http.edge.training.sender import TrainingSender

CONFIG = SenderConfig("http://edge", "t", "acme", "resnet", "run-1", "", "", 60.0, 1000, "s")


def _frame(first: int, *values: float) -> RowFrame:
    return RowFrame(first, {0: "loss"}, b"".join(ROW.pack(0, 7, value) for value in values))


class _Edge:
    """Raises scripted refusals first; then it takes everything."""

    def __init__(self, *refusals: Exception, clock: VirtualClock | None = None) -> None:
        self.refusals = [*refusals]
        self.posts: list[list[dict]] = []

    async def post(self, topic: str, events: list[dict]) -> Posted:
        self.posts.append(events)
        if self.refusals:
            raise self.refusals.pop(0)
        return Posted(len(events), [])


class _Moved(VirtualClock):
    seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds


async def _sent(edge: _Edge, *frames: RowFrame, config: SenderConfig = CONFIG) -> TrainingSender:
    sender = TrainingSender(config, _Moved())
    for frame in (*frames, None):
        sender.take(frame)
    async with asyncio.timeout(100):
        await sender.run(edge, "topic")
    return sender


async def test_a_frame_is_repeated_unchanged_until_the_edge_takes_it():
    """Its ids are those of the first attempt, of which a part may have been stored."""
    edge = _Edge(NotStored("away"), OverQuota("slowly"))
    sender = await _sent(edge, _frame(0, 0.5, 0.25), _frame(2, 0.125))
    assert edge.posts[0] == edge.posts[1] == edge.posts[2]
    assert [event["event_id"] for event in edge.posts[0] + edge.posts[3]] == ["s-0", "s-1", "s-2"]
    assert edge.posts[0][1] == {
        "tenant_id": "acme", "model_id": "resnet", "run_id": "run-1", "event_id": "s-1",
        "metric": "loss", "ts": 7, "value": 0.25,
    }  # fmt: skip
    assert (sender.status.accepted, sender.status.last_error) == (3, "over_quota: slowly")


async def test_what_no_repeat_can_mend_is_rejected_once():
    """A wrong token must not fill the cache for a minute."""
    edge = _Edge(Forbidden("another tenant"))
    sender = await _sent(edge, _frame(0, 1.0, 2.0))
    assert (len(edge.posts), sender.status.rejected) == (1, 2)
    assert sender.status.last_error == "forbidden: another tenant"


async def test_frames_older_than_the_cache_are_dropped_and_counted():
    """An edge that is away for longer than that costs points, which are told, and no memory."""
    sender = TrainingSender(CONFIG, clock := _Moved())
    sender.take(_frame(0, 1.0, 2.0))
    clock.seconds = 61.0
    sender.take(_frame(2, 3.0))
    sender.take(None)
    async with asyncio.timeout(100):
        await sender.run(_Edge(), "topic")
    assert (sender.status.dropped, sender.status.accepted) == (2, 1)


async def test_the_oldest_frames_make_room_for_new_ones():
    """The bound of bytes holds whatever the training logs."""
    held = [_frame(n * 20, *[1.0] * 20) for n in range(5)]
    edge = _Edge()
    sender = await _sent(edge, *held)
    assert len(held[0].rows) * 2 <= CONFIG.cache_bytes < len(held[0].rows) * 3
    assert [events[0]["event_id"] for events in edge.posts] == ["s-60", "s-80"]
    assert (sender.status.dropped, sender.status.accepted) == (60, 40)


def _values(log, count: int) -> list[float]:
    """Of the edge's log, once it has ``count`` events."""
    until_s = time.monotonic() + 100
    while len(log()) < count and time.monotonic() < until_s:
        time.sleep(0.01)
    return sorted(json.loads(value)["value"] for _, value in log())


def test_logged_points_are_in_the_log_after_the_close(served, tokens, log):
    """Through the real child process, which finds the app and its topic by itself."""
    with TrainingLog(
        served, tokens["operate"], tenant="acme", model="resnet", close_s=100
    ) as metrics:
        for value in (0.5, 0.25):
            assert metrics.log("loss", value)
        assert metrics.log("lr", 1e-3)
        assert metrics.close()
    assert (metrics.status.accepted, metrics.status.last_error) == (3, "")
    assert _values(log, 3) == [1e-3, 0.25, 0.5]
    assert not metrics.log("loss", 1.0)
    assert metrics.lost == 1
    assert str(Path(f"/proc/self/fd/{metrics._pipe}").readlink()) == os.devnull


KILLED = """
import os, signal, sys, time
from streams import TrainingLog
metrics = TrainingLog(sys.argv[1], sys.argv[2], tenant="acme", model="resnet")
metrics.log("loss", 0.5)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_was_handed_over_outlives_the_training(served, tokens, log):
    """The last points before a crash are those that explain it."""
    command = [sys.executable, "-c", KILLED, served, tokens["operate"]]
    assert subprocess.run(command, timeout=100, check=False).returncode == -9
    assert _values(log, 1) == [0.5]


@pytest.mark.parametrize("close_s", [0.0, 0.1])
def test_points_beyond_the_bound_are_lost_and_counted(monkeypatch, close_s):
    """A child that hangs costs the training a bounded memory, and at its end `close_s` seconds."""
    asleep = [sys.executable, "-c", "import time; time.sleep(100)"]
    start = subprocess.Popen
    children = []

    def hang(command: list[str], **named: object) -> subprocess.Popen[bytes]:
        children.append(start(asleep, **named))
        return children[-1]

    monkeypatch.setattr(training_log, "WAITING_MAX", 2)
    monkeypatch.setattr(training_log.subprocess, "Popen", hang)
    metrics = TrainingLog("http://127.0.0.1:9", "t", tenant="a", model="m", close_s=close_s)
    taken = 0
    while metrics.log("x", 1.0):
        taken += 1
    assert taken <= training_log.PIPE_BYTES // 20 + 2
    assert not metrics.log("x", 1.0)
    assert metrics.lost == 2
    with pytest.raises(struct.error):
        metrics.log("x", None)  # type: ignore[arg-type]
    assert not metrics.close()
    assert metrics.lost == 4
    children[0].kill()
    children[0].wait(100)


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", "\u00e9" * 9]), st.floats()), max_size=30),
    st.data(),
)
def test_rows_are_read_as_they_were_written_however_the_pipe_cuts_them(rows, data):
    """A reader gets what is in the pipe, which may end in the middle of a record."""
    numbers: dict[str, int] = {}
    written = b""
    for name, value in rows:
        if name not in numbers:
            numbers[name] = len(numbers)
            written += name_record(numbers[name], name)
        written += ROW.pack(numbers[name], 7, value)
    chunks, left = [], written
    while left:
        size = data.draw(st.integers(1, len(left)))
        chunks.append(left[:size])
        left = left[size:]
    events = [event for frame in frames(iter(chunks), {}) for event in frame.events(CONFIG)]
    assert [(event["metric"], repr(event["value"])) for event in events] == [
        (name, repr(value)) for name, value in rows
    ]
    assert [event["event_id"] for event in events] == [f"s-{n}" for n in range(len(rows))]
