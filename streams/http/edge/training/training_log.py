"""Logs metrics of training code without waiting for a network, a disk or a thread.

`TrainingLog.log` writes twenty bytes to a pipe that never blocks; a child process (sender.py) reads
it, keeps the points while the edge is away, sends them in batches and repeats. This process has no
thread for it, which could hold the interpreter lock, and what was logged outlives it."""

from __future__ import annotations

import atexit
import fcntl
import os
import select
import subprocess
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from types import TracebackType
from typing import Final, Self
from uuid import uuid4

import msgspec

from streams.http.edge.training.frames import (
    NAME_CHARS_MAX,
    ROW,
    SenderConfig,
    SenderStatus,
    config_record,
    name_record,
)

PIPE_BYTES: Final = 1 << 20
"""The most that Linux gives to a user: 50,000 points, until the child reads."""
WAITING_MAX: Final = 100_000
"""Points that wait for room in the pipe; beyond, they are lost and counted."""
CLOSE_TIMEOUT_S: Final = 10.0
NAMES_MAX: Final = 10_000


class TrainingLog:
    """Metrics of one run of a model, for one tenant.

    ``cache_s`` seconds and ``cache_bytes`` are kept while the edge is away. Closed at the exit of
    the process; then up to ``close_s`` seconds are waited for the child, which goes on with the
    rest. A forked process logs nothing."""

    def __init__(
        self,
        url: str,
        token: str,
        *,
        tenant: str,
        model: str,
        run: str = "",
        app: str = "",
        topic: str = "",
        cache_s: float = 60.0,
        cache_bytes: int = 100 << 20,
        close_s: float = CLOSE_TIMEOUT_S,
    ) -> None:
        self._close_s = close_s
        self._names: dict[str, int] = {}
        self._lock = threading.Lock()
        self._waiting: deque[bytes] = deque()
        self._closed = False
        self.lost = 0
        """points that `log` did not take"""
        self._status = SenderStatus()
        self._said = b""
        config = SenderConfig(
            *(url, token, tenant, model, run, app, topic, cache_s, cache_bytes, uuid4().hex)
        )
        self._child, self._pipe = _started(config)
        atexit.register(self.close)
        os.register_at_fork(after_in_child=self._forked)

    def log(self, metric: str, value: float, *, ts_ms: int | None = None) -> bool:
        """``ts_ms``: milliseconds since the Unix epoch; default: now. False: not taken, as too many
        points or names wait, or it is closed."""
        at_ms = time.time_ns() // 1_000_000 if ts_ms is None else ts_ms
        number = self._names.get(metric)
        if number is None:
            number = self._named(metric)
        if number < 0 or self._closed:
            self.lost += 1
            return False
        return self._write(ROW.pack(number, at_ms, value))

    @property
    def status(self) -> SenderStatus:
        """Of the child, a second old at most."""
        assert self._child.stdout is not None, "it is a pipe"
        with suppress(BlockingIOError, ValueError):
            while part := os.read(self._child.stdout.fileno(), 1 << 16):
                self._said += part
        *lines, self._said = self._said.split(b"\n")
        if lines:
            self._status = msgspec.json.decode(lines[-1], type=SenderStatus)
        return self._status

    def close(self) -> bool:
        """True: the child has ended, so each point is accepted, rejected or dropped by `status`."""
        with self._lock:
            closed, self._closed = self._closed, True
        until_s = time.monotonic() + self._close_s
        if not closed:
            atexit.unregister(self.close)
            with self._lock:
                self._flush(until_s)
                self.lost += len(self._waiting)
            self._shut()
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(max(0.0, until_s - time.monotonic()))
        return self._child.poll() is not None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _named(self, metric: str) -> int:
        """Its number, which the child knows before a row bears it. -1: one more than are taken."""
        with self._lock:
            found = self._names.get(metric)
            if found is None:
                full = len(self._names) >= NAMES_MAX or len(metric) > NAME_CHARS_MAX
                found = -1 if full else len(self._names)
                if not full:
                    self._waiting.append(name_record(found, metric))
                    self._flush()
                    self._names[metric] = found
        return found

    def _write(self, row: bytes) -> bool:
        if not self._waiting:
            try:
                os.write(self._pipe, row)
            except BlockingIOError:
                pass
            except OSError:  # the child has ended: its status says why
                self.lost += 1
                return False
            else:
                return True
        with self._lock:
            if len(self._waiting) >= WAITING_MAX:
                self.lost += 1
                return False
            self._waiting.append(row)
            self._flush()
        return True

    def _flush(self, until_s: float = 0.0) -> None:
        """Write what waits. Room is waited for until ``until_s``, by the monotonic clock."""
        with suppress(OSError):  # the child has ended
            while self._waiting:
                try:
                    os.write(self._pipe, self._waiting[0])
                except BlockingIOError:
                    if not self._has_room(until_s - time.monotonic()):
                        return
                else:
                    self._waiting.popleft()

    def _has_room(self, within_s: float) -> bool:
        if within_s <= 0:
            return False
        room = select.poll()
        room.register(self._pipe, select.POLLOUT)
        return bool(room.poll(within_s * 1000))

    def _forked(self) -> None:
        self._lock, self._closed = threading.Lock(), True
        atexit.unregister(self.close)
        self._shut()

    def _shut(self) -> None:
        """End the pipe. Its number stays taken: a `log` of another thread, or a fork, may still use
        it, and must not meet another file there."""
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, self._pipe, inheritable=False)
        os.close(nothing)


def _started(config: SenderConfig) -> tuple[subprocess.Popen[bytes], int]:
    """The child, and the end of the pipe that this process writes to."""
    read, write = os.pipe()
    with suppress(OSError):  # as much as the machine allows
        fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    child = subprocess.Popen(
        [sys.executable, "-m", "streams.http.edge.training.sender"],
        stdin=read,
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for the training
    )
    os.close(read)
    assert child.stdout is not None, "it is a pipe"
    os.set_blocking(child.stdout.fileno(), False)
    os.write(write, config_record(config))
    os.set_blocking(write, False)
    return child, write
