"""Metrics of training code: what is logged reaches the edge once, and logging never waits for it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams import TrainingLog
from streams.connect.access.refusals import Forbidden, NotStored, OverQuota
from streams.core.clock import VirtualClock
from streams.http.edge.client import Posted
from streams.http.edge.training import training_log
from streams.http.edge.training.frames import (
    ROW,
    MetricName,
    RowFrame,
    SenderConfig,
    frames,
    name_record,
)
from streams.http.edge.training.ring import STATUS_BYTES, Ring, shared_file
from streams.http.edge.training.sender import TrainingSender

GUIDE = Path(__file__).parents[5] / "docs" / "training.md"
CONFIG = SenderConfig("http://edge", "t", "acme", "resnet", "run-1", "t", 60.0, 1000, "s")


def _frame(first: int, *values: float) -> RowFrame:
    return RowFrame(
        first, {0: MetricName("", "loss")}, b"".join(ROW.pack(0, 7, value) for value in values)
    )


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
    """An edge that is away for longer than that costs points, which are counted, and no memory."""
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
    """Through the real child process, which needs no app of the pipeline."""
    with TrainingLog(
        served, tokens["operate"], topic="model.metrics", tenant="acme", model="resnet", close_s=100
    ) as metrics:
        for value in (0.5, 0.25):
            assert metrics.log("loss", value)
        assert metrics.log("lr", 1e-3, run="run-2")
        assert metrics.close()
    assert (metrics.status.accepted, metrics.status.last_error) == (3, "")
    assert _values(log, 3) == [1e-3, 0.25, 0.5]
    assert not metrics.log("loss", 1.0)
    assert metrics.lost == 1
    runs = {json.loads(value).get("run_id") for _, value in log()}
    assert runs == {None, "run-2"}


def test_the_example_of_the_guide_logs_each_loss(served, tokens, log):
    """A reader copies it: only the address is changed here."""
    example = re.search(r"```py\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    code = example[1].replace("https://edge.example", served)
    exec(code, {"token": tokens["operate"], "batches": [4, 2], "train": lambda batch: batch / 8})
    assert _values(log, 2) == [0.25, 0.5]


KILLED = """
import os, signal, sys, time
from streams import TrainingLog
metrics = TrainingLog(sys.argv[1], sys.argv[2], topic="model.metrics", tenant="acme", model="resnet")
metrics.log("loss", 0.5)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_was_handed_over_outlives_the_training(served, tokens, log):
    """The last points before a crash are those that explain it."""
    command = [sys.executable, "-c", KILLED, served, tokens["operate"]]
    assert subprocess.run(command, timeout=100, check=False).returncode == -9
    assert _values(log, 1) == [0.5]


@pytest.fixture
def asleep(monkeypatch) -> Iterator[list[subprocess.Popen]]:
    """Senders that read nothing, with a ring for 2 records of a point."""
    command = [sys.executable, "-c", "import time; time.sleep(100)"]
    start, children = subprocess.Popen, []

    def hang(_: list[str], **named: object) -> subprocess.Popen[bytes]:
        children.append(start(command, **named))
        return children[-1]

    monkeypatch.setattr(training_log, "WAITING_MAX", 2)
    monkeypatch.setattr(training_log, "RING_BYTES", len(NAME) + 2 * ROW.size)
    monkeypatch.setattr(training_log.subprocess, "Popen", hang)
    yield children
    for child in children:
        child.kill()
        child.wait(100)


NAME = name_record(0, MetricName("", "x"))


@pytest.mark.parametrize("close_s", [0.0, 0.1])
def test_points_beyond_the_bound_are_lost_and_counted(asleep, close_s):
    """A child that hangs costs the training a bounded memory, and at its end `close_s` seconds."""
    metrics = TrainingLog(
        "http://127.0.0.1:9", "t", topic="t", tenant="a", model="m", close_s=close_s
    )
    assert [metrics.log("x", 1.0) for _ in range(6)] == [True] * 4 + [False] * 2
    assert metrics.lost == 2
    with pytest.raises(struct.error):
        metrics.log("x", None)  # type: ignore[arg-type]
    assert not metrics.close()
    assert metrics.lost == 4


def test_what_a_dead_child_did_not_read_is_lost_and_counted(asleep):
    """A count that says "taken" of what nothing will send would hide the loss."""
    metrics = TrainingLog("http://127.0.0.1:9", "t", topic="t", tenant="a", model="m")
    assert [metrics.log("x", 1.0) for _ in range(3)] == [True] * 3
    asleep[0].kill()
    asleep[0].wait(100)
    assert metrics.status.accepted == 0
    assert not metrics.log("x", 1.0)
    assert metrics.close()
    assert metrics.lost == 4


class _Lock:
    """Of another thread; a caller that waits for it fails."""

    def __init__(self) -> None:
        self.held = False

    def acquire(self, *, blocking: bool) -> bool:
        assert not blocking
        return not self.held

    def release(self) -> None:
        pass


def test_a_call_leaves_its_point_to_the_thread_that_holds_the_lock(asleep, monkeypatch):
    """To wait for that thread is to wait for its turn of the interpreter: 5 ms or more."""
    monkeypatch.setattr(training_log, "WAITING_MAX", 1000)
    metrics = TrainingLog("http://127.0.0.1:9", "t", topic="t", tenant="a", model="m", close_s=0.0)
    metrics._moving = lock = _Lock()  # type: ignore[assignment]
    lock.held = True
    assert metrics.log("x", 1.0)
    assert metrics._ring.unread() == b""
    lock.held = False
    assert metrics.log("x", 2.0)
    rows = frames([metrics._ring.unread()], {})
    assert [event["value"] for frame in rows for event in frame.events(CONFIG)] == [1.0, 2.0]
    metrics.close()


def test_one_call_moves_a_bounded_number_of_records(asleep, monkeypatch):
    """After a long pause of its sender a training must not pay for all that waits in one call."""
    monkeypatch.setattr(training_log, "WAITING_MAX", 1000)
    monkeypatch.setattr(training_log, "RING_BYTES", 1 << 20)
    metrics = TrainingLog("http://127.0.0.1:9", "t", topic="t", tenant="a", model="m", close_s=0.0)
    metrics.log("x", 0.0)
    metrics._waiting.extend([ROW.pack(0, 7, 1.0)] * 500)
    metrics.log("x", 2.0)
    assert len(metrics._waiting) == 501 - training_log.MOVED_MAX
    metrics.close()


def test_an_interrupt_inside_a_call_sends_no_point_twice_and_holds_no_lock(asleep, monkeypatch):
    """Ctrl-C in a notebook ends a call anywhere; the log goes on."""
    monkeypatch.setattr(training_log, "RING_BYTES", 4096)
    metrics = TrainingLog("http://127.0.0.1:9", "t", topic="t", tenant="a", model="m", close_s=0.0)
    metrics.log("x", 0.0)
    write = metrics._ring.write

    def interrupted(record: bytes) -> bool:
        write(record)
        raise KeyboardInterrupt

    monkeypatch.setattr(metrics._ring, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        metrics.log("x", 1.0)
    monkeypatch.setattr(metrics._ring, "write", write)
    assert metrics.log("x", 2.0)
    rows = metrics._ring.unread()[len(NAME) :]
    assert [value for _, _, value in ROW.iter_unpack(rows)] == [0.0, 1.0, 2.0]
    metrics.close()


FORKED = """
import os
from streams import TrainingLog
metrics = TrainingLog("http://127.0.0.1:9", "t", topic="t", tenant="acme", model="resnet", close_s=0.0)
if not (child := os.fork()):
    os._exit(bool(metrics.status.accepted or metrics.close() or metrics.log("loss", 1.0)))
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
os._exit(code or not metrics.log("loss", 0.5))
"""


def test_a_forked_process_leaves_the_log_to_its_parent():
    """A loader of data forks; what it asks of the log must not end that of the training."""
    assert subprocess.run([sys.executable, "-c", FORKED], timeout=100, check=False).returncode == 0


@given(st.lists(st.binary(max_size=STATUS_BYTES), max_size=5))
def test_the_last_status_is_read_however_many_were_not(statuses):
    """A training that never asks must not hold up its sender."""
    file = shared_file(64)
    try:
        ring = Ring(file)
    finally:
        os.close(file)
    assert ring.said() == b""
    for status in statuses:
        ring.say(status)
        assert ring.said() == status


def test_a_status_has_room_whatever_an_edge_answers():
    """A longer one would end the sender."""
    sender = TrainingSender(CONFIG, _Moved())
    sender._failed("\x01" * 10_000)
    assert len(msgspec.json.encode(sender.status)) < STATUS_BYTES


NO_SYSTEM_CALLS = """
import ctypes, os, platform, struct, sys
from streams import TrainingLog
metrics = TrainingLog("http://127.0.0.1:9", "t", topic="t", tenant="acme", model="resnet")
metrics.log("loss", 0.5)
# Memory of the interpreter may grow; all else ends the process: seccomp(2), a filter of 64-bit numbers.
allowed = {"x86_64": (9, 11, 12, 28, 231), "aarch64": (222, 215, 214, 233, 94)}[platform.machine()]
n = len(allowed)
code = [(0x20, 0, 0, 0)] + [(0x15, n - i, 0, number) for i, number in enumerate(allowed)]
code += [(0x06, 0, 0, 0x80000000), (0x06, 0, 0, 0x7FFF0000)]
held = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *one) for one in code))
program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(code), ctypes.addressof(held)))
prctl = ctypes.CDLL(None).prctl
if prctl(38, 1, 0, 0, 0) or prctl(22, 2, program, 0, 0):
    os._exit(77)
taken = all([metrics.log("loss", 0.5) for _ in range(3000)])
if len(sys.argv) > 1:
    os.write(1, b"x")
os._exit(0 if taken else 1)
"""


@pytest.mark.parametrize("planted", [False, True])
def test_a_call_makes_no_system_call(planted):
    """In one, the interpreter's lock may go to a thread that computes for 5 ms, and the processor to
    another process. The kernel ends the process at the first; a planted one shows that it does."""
    command = [sys.executable, "-c", NO_SYSTEM_CALLS, *["planted"] * planted]
    done = subprocess.run(command, timeout=100, check=False)
    if done.returncode == 77:
        pytest.skip("this kernel has no seccomp")
    assert done.returncode == (-signal.SIGSYS if planted else 0)


@given(st.lists(st.binary(min_size=1, max_size=9), max_size=60), st.data())
def test_a_ring_gives_all_bytes_in_order_and_refuses_what_it_cannot_hold(records, data):
    """Both processes go round and round in it; nothing that waits is overwritten."""
    file = shared_file(16)
    training, sender = Ring(file), Ring(file)
    os.close(file)
    taken, read = b"", b""
    for record in records:
        if training.write(record):
            taken += record
        else:
            assert len(training.unread()) + len(record) > 16
        if data.draw(st.booleans()):
            read += b"".join(sender.read(data.draw(st.integers(1, 9))))
        assert taken.startswith(read)
        assert taken.endswith(training.unread())
    read += b"".join([*sender.read(9), *sender.read(9)])
    sender.end()
    assert (read, training.unread(), training.ended) == (taken, b"", True)


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", "\u00e9" * 9]), st.floats()), max_size=30),
    st.data(),
)
def test_rows_are_read_as_they_were_written_however_readings_cut_them(rows, data):
    """A reading may end in the middle of a record."""
    numbers: dict[str, int] = {}
    written = b""
    for name, value in rows:
        if name not in numbers:
            numbers[name] = len(numbers)
            written += name_record(numbers[name], MetricName("", name))
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
