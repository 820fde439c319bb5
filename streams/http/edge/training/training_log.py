"""Logs metrics of training code without waiting for a network, a disk or a thread.

`TrainingLog.log` writes twenty bytes to memory (ring.py) that a child process (sender.py) reads: it makes
no system call, so no other thread gets the interpreter's lock meanwhile, and it takes no lock that another
thread holds. The child keeps the points while the edge is away, sends them in batches and repeats. This
process has no thread for it, and what was logged outlives it."""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from itertools import count
from types import TracebackType
from typing import Final, Self
from uuid import uuid4
from weakref import WeakSet

import msgspec

from streams.http.edge.training.frames import (
    NAME_CHARS_MAX,
    ROW,
    MetricName,
    SenderConfig,
    SenderStatus,
    config_record,
    name_record,
    split,
)
from streams.http.edge.training.ring import RING_BYTES, Ring, shared_file

WAITING_MAX: Final = 1000
"""Records that wait for another thread, or for room in the ring; more are lost and counted."""
MOVED_MAX: Final = 64
"""Records that one call moves into the ring."""
CLOSE_TIMEOUT_S: Final = 10.0
NAMES_MAX: Final = 100_000
_RETRY_S: Final = 0.005


class TrainingLog:
    """Metrics of one run of a model, for one tenant, as events of ``topic``.

    ``cache_s`` seconds and ``cache_bytes`` are kept while the edge is away. Closed at the exit of
    the process; then up to ``close_s`` seconds are waited for the child, which goes on with the
    rest. A forked process logs nothing. Linux only."""

    def __init__(
        self,
        url: str,
        token: str,
        *,
        topic: str,
        tenant: str,
        model: str,
        run: str = "",
        cache_s: float = 60.0,
        cache_bytes: int = 100 << 20,
        close_s: float = CLOSE_TIMEOUT_S,
    ) -> None:
        self._close_s = close_s
        self._numbers = count()
        self._names: dict[str | tuple[str, str], int] = {}
        self._moving = threading.Lock()
        self._waiting: deque[bytes] = deque()
        self._closed = self._forked = False
        self.lost = 0
        """points that `log` did not take, and after `close` those that the child did not read"""
        self._status = SenderStatus()
        config = SenderConfig(
            *(url, token, tenant, model, run, topic, cache_s, cache_bytes, uuid4().hex)
        )
        self._child, self._ring = _started(config)
        atexit.register(self.close)
        _LOGS.add(self)

    def log(self, metric: str, value: float, *, run: str = "", ts_ms: int | None = None) -> bool:
        """``run``: default, that of this log. ``ts_ms``: milliseconds since the Unix epoch; default:
        now. False: not taken, as too many points or names wait, or it is closed."""
        at_ms = time.time_ns() // 1_000_000 if ts_ms is None else ts_ms
        number = self._names.get((run, metric) if run else metric)
        if number is None:
            number = self._named(run, metric)
        row = ROW.pack(max(number, 0), at_ms, value)
        if number < 0 or self._closed or self._ring.ended or len(self._waiting) >= WAITING_MAX:
            self.lost += 1
            return False
        self._waiting.append(row)
        self._move()
        return True

    @property
    def status(self) -> SenderStatus:
        """Of the child, a second old at most; in a forked process the one read last before the fork."""
        if not self._forked:
            if said := self._ring.said():
                self._status = msgspec.json.decode(said, type=SenderStatus)
            if self._child.poll() is not None:
                self._ring.end()
        return self._status

    def close(self) -> bool:
        """True: the child has ended, so each point is accepted, rejected or dropped by `status`, or
        `lost`. What another thread logs meanwhile may be missing in these counts."""
        if self._forked:
            return False
        closed, self._closed = self._closed, True
        until_s = time.monotonic() + self._close_s
        if not closed:
            atexit.unregister(self.close)
            while self._waiting and self._child.poll() is None and time.monotonic() < until_s:
                self._move()
                if self._waiting:
                    time.sleep(_RETRY_S)
            assert self._child.stdin is not None, "it is a pipe"
            self._child.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(max(0.0, until_s - time.monotonic()))
        ended = self._child.poll() is not None
        if not closed:
            left = b"".join(self._waiting) + (self._ring.unread() if ended else b"")
            self.lost += len(split(left, {})[0]) // ROW.size
        return ended

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _named(self, run: str, metric: str) -> int:
        """Its number, which the child reads before a row bears it. -1: one more than are taken."""
        unfit = max(len(metric), len(run)) > NAME_CHARS_MAX or len(self._names) >= NAMES_MAX
        if unfit or len(self._waiting) >= WAITING_MAX:
            return -1
        # Two threads may give two numbers to one name, and the child knows both.
        number = next(self._numbers)
        self._waiting.append(name_record(number, MetricName(run, metric)))
        return self._names.setdefault((run, metric) if run else metric, number)

    def _move(self) -> None:
        """Records into the ring, in their order. Where another thread does so, it looks again once it
        has released the lock, and finds what was appended meanwhile."""
        left = MOVED_MAX
        while left and self._waiting:
            held = False
            try:  # a signal's handler may raise anywhere in it
                held = self._moving.acquire(blocking=False)
                if not held:
                    return
                while left and self._waiting:
                    # Taken out first: a record is rather lost than sent twice.
                    record = self._waiting.popleft()
                    if not self._ring.write(record):
                        self._waiting.appendleft(record)
                        return
                    left -= 1
            finally:
                if held:
                    self._moving.release()

    def leave_to_parent(self) -> None:
        """In a forked process: the log is its parent's."""
        self._closed = self._forked = True
        atexit.unregister(self.close)
        if self._child.stdin is not None:
            self._child.stdin.close()


_LOGS: Final[WeakSet[TrainingLog]] = WeakSet()


def _leave_all_to_parent() -> None:
    for log in _LOGS:
        log.leave_to_parent()


os.register_at_fork(after_in_child=_leave_all_to_parent)


def _started(config: SenderConfig) -> tuple[subprocess.Popen[bytes], Ring]:
    file = shared_file(RING_BYTES)
    try:
        child = subprocess.Popen(
            [sys.executable, "-m", "streams.http.edge.training.sender", str(file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            pass_fds=[file],
            start_new_session=True,  # Ctrl-C is for the training
        )
        ring = Ring(file)
    finally:
        os.close(file)
    assert child.stdin is not None, "it is a pipe"
    with suppress(BrokenPipeError):  # its status says that it has ended
        os.write(child.stdin.fileno(), config_record(config))
    return child, ring
