"""Unfinished requests of one partition, by key.

The index of each is in memory: offset, key, digest and priority. The event is in memory within a
bound (`HeldRequests`) and is otherwise read again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from streams.engine.agents.job_agent import Outcome
from streams.engine.runtime.effects.dead_letters import Origin
from streams.engine.runtime.jobs.work import Work
from streams.engine.state.outcomes import JobKey, Remembered

_EVENT_FACTOR = 5
"""bytes of a decoded request for each byte of its record's value"""
_EVENT_BYTES = 600
INDEX_BYTES = 1200
"""memory of one index entry (tests/unit/engine/runtime/test_look_ahead.py measures it)"""


class Request(Work, eq=False):
    """An unfinished request. ``origin`` is its record, in memory together with ``event``.

    ``repeats``: later requests of the key that wait for its end; its own repeats, and repeats of
    these that are too late to be its own. ``cancellers``: requests that cancelled it, answered with
    it.
    """

    offset: int = -1
    append_ms: int = 0
    log_ms: int = 0
    horizon_ms: int = 0
    """log time and horizon of the record (streams/engine/state/log_time.py)"""
    origin: Origin | None = None
    held_bytes: int = 0
    waits: bool = False
    """counts against its tenant's waiting requests"""
    repeats: list[Request] | None = None
    is_repeat: bool = False
    """its first has an outcome, which is its ``known``"""
    is_conflict: bool = False
    """its first has another payload: it becomes a dead letter once in memory"""
    cancellers: list[Request] | None = None
    older: Request | None = None
    """an earlier running request of the key"""
    identity: JobKey = ("", "")
    """of its ``ask``"""

    def __post_init__(self) -> None:
        self.identity = self.ask.tenant, self.ask.key

    def wait(self, request: Request) -> None:
        if self.repeats is None:
            self.repeats = []
        self.repeats.append(request)


def held_bytes(origin: Origin) -> int:
    return _EVENT_BYTES + _EVENT_FACTOR * len(origin.value or b"")


@dataclass(slots=True)
class RunningRequests:
    """First requests by key. A key has several only if it expired in between, or its first was
    given up."""

    _newest: dict[JobKey, Request] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._newest)

    def before(self, request: Request) -> Request | None:
        found = self._newest.get(request.identity)
        while found is not None and found.offset >= request.offset:
            found = found.older
        return found

    def of(self, identity: JobKey) -> Iterator[Request]:
        """All requests of the key, the newest first."""
        found = self._newest.get(identity)
        while found is not None:
            yield found
            found = found.older

    def add(self, request: Request) -> None:
        newest = self._newest.get(request.identity)
        if newest is None or newest.offset < request.offset:
            request.older = newest
            self._newest[request.identity] = request
            return
        newer = newest
        while newer.older is not None and newer.older.offset >= request.offset:
            newer = newer.older
        request.older, newer.older = newer.older, request

    def remove(self, request: Request) -> None:
        older, request.older = request.older, None
        if self._newest[request.identity] is not request:
            newer = next(r for r in self.of(request.identity) if r.older is request)
            newer.older = older
        elif older is not None:
            self._newest[request.identity] = older
        else:
            del self._newest[request.identity]


def payload_of(first: Request | Remembered) -> bytes:
    return first.ask.payload if isinstance(first, Request) else first.payload


def conflict(request: Request) -> str:
    return (
        f"idempotency_key {request.ask.key!r} came before with another payload within "
        f"DIA_DEDUPE_TTL_S"
    )


def cancel_outcome(cancelled: bool, now_ms: int) -> Outcome:
    return Outcome("completed", {"cancelled": cancelled}, "", "", now_ms, now_ms)
