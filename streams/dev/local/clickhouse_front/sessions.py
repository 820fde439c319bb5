"""Named sessions: connections that outlive a request, for temporary tables and SET."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from chdb.session import Session

from streams.dev.local.clickhouse_front.errors import (
    SESSION_IS_LOCKED,
    SESSION_NOT_FOUND,
    TOO_MANY_SIMULTANEOUS_QUERIES,
    StatementFailed,
)

SESSIONS_MAX = 64
SESSION_TIMEOUT_MAX_S = 3600.0


@dataclass(slots=True)
class _Held:
    connection: Session
    busy: bool
    expires_at: float


class StatementSessions:
    """One request at a time in each of at most `SESSIONS_MAX`; idle ones expire."""

    def __init__(self, open_connection: Callable[[], Session]) -> None:
        self._open = open_connection
        self._lock = threading.Lock()
        self._held: dict[str, _Held] = {}

    @contextmanager
    def borrow(
        self, session_id: str, timeout_s: float, *, must_exist: bool = False
    ) -> Iterator[Session]:
        """The connection for one request; it expires after ``timeout_s``. Raises `StatementFailed`:
        373 in use, 372 unknown, 202 when all sessions are busy."""
        held = self._take(session_id, must_exist=must_exist)
        try:
            yield held.connection
        finally:
            with self._lock:
                held.busy = False
                held.expires_at = time.monotonic() + min(timeout_s, SESSION_TIMEOUT_MAX_S)

    def expire(self) -> None:
        now = time.monotonic()
        with self._lock:
            for session_id, held in list(self._held.items()):
                if not held.busy and held.expires_at <= now:
                    self._drop(session_id)

    def close(self) -> None:
        with self._lock:
            for session_id in [key for key, held in self._held.items() if not held.busy]:
                self._drop(session_id)

    def __len__(self) -> int:
        return len(self._held)

    def _take(self, session_id: str, *, must_exist: bool) -> _Held:
        self.expire()
        with self._lock:
            held = self._held.get(session_id)
            if held is None:
                if must_exist:
                    raise StatementFailed(SESSION_NOT_FOUND, f"Session {session_id} not found.")
                self._make_room()
                held = self._held[session_id] = _Held(self._open(), busy=False, expires_at=0.0)
            if held.busy:
                raise StatementFailed(
                    SESSION_IS_LOCKED, f"Session {session_id} is locked by a concurrent client."
                )
            held.busy = True
            return held

    def _make_room(self) -> None:
        if len(self._held) < SESSIONS_MAX:
            return
        idle = [(held.expires_at, key) for key, held in self._held.items() if not held.busy]
        if not idle:
            raise StatementFailed(
                TOO_MANY_SIMULTANEOUS_QUERIES, f"All {SESSIONS_MAX} sessions are in use."
            )
        self._drop(min(idle)[1])

    def _drop(self, session_id: str) -> None:
        self._held.pop(session_id).connection.close()
