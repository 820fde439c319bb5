"""The requests of one partition that are read and not finished, by key.

Of each, the index is in memory: where it lies, whose it is, what it asks (a digest), its priority.
The request itself (`Held`) is in memory within a bound, and is read again from the log when its
turn comes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from streams.engine.agents.job_agent import Outcome
from streams.engine.runtime.effects.dead_letters import Origin
from streams.engine.runtime.jobs.work import Work
from streams.engine.state.outcomes import JobKey, Remembered

_EVENT_FACTOR = 5
"""Bytes of a decoded request beside its record, for each byte of the record's value."""
_EVENT_BYTES = 600
INDEX_BYTES = 1200
"""What the index of one request takes in memory (tests/unit/engine/runtime/test_look_ahead.py measures)."""


@dataclass(slots=True, eq=False)
class Request(Work):
    """A request that is not finished. ``origin`` is its record, in memory as long as ``event``.

    ``repeats`` are requests of the same key that were read since and wait for its end: its own
    repeats, and repeats of these that were appended too late to be its own. ``cancellers`` are
    requests that ended it; they are answered with it.
    """

    offset: int = -1
    append_ms: int = 0
    log_ms: int = 0
    horizon_ms: int = 0
    """log time, and its horizon, of the record (streams/engine/state/log_time.py)"""
    origin: Origin | None = None
    held_bytes: int = 0
    waits: bool = False
    """it counts against what its tenant may have waiting"""
    repeats: list[Request] | None = None
    is_repeat: bool = False
    """its first has an outcome, and it has that one as ``known``"""
    is_conflict: bool = False
    """another payload than its first's: it becomes a dead letter once it is in memory"""
    cancellers: list[Request] | None = None
    older: Request | None = None
    """another running request of the key that was appended before"""

    @property
    def identity(self) -> JobKey:
        return self.ask.tenant, self.ask.key

    def wait(self, request: Request) -> None:
        """``request`` waits until this one ends."""
        if self.repeats is None:
            self.repeats = []
        self.repeats.append(request)


def held_bytes(origin: Origin) -> int:
    """What a request costs in memory besides its index."""
    return _EVENT_BYTES + _EVENT_FACTOR * len(origin.value or b"")


@dataclass(slots=True)
class RunningRequests:
    """First requests of their keys, by key. A key has several only if it expired in between, or if
    its first was given up."""

    _newest: dict[JobKey, Request] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._newest)

    def before(self, request: Request) -> Request | None:
        """The last request of the key that was appended before this one."""
        return next((r for r in self.of(request.identity) if r.offset < request.offset), None)

    def of(self, identity: JobKey) -> Iterator[Request]:
        """All requests of the key, the newest first."""
        found = self._newest.get(identity)
        while found is not None:
            yield found
            found = found.older

    def add(self, request: Request) -> None:
        """It runs from now on."""
        newer: Request | None = None
        for other in self.of(request.identity):
            if other.offset < request.offset:
                break
            newer = other
        if newer is None:
            request.older = self._newest.get(request.identity)
            self._newest[request.identity] = request
        else:
            request.older, newer.older = newer.older, request

    def remove(self, request: Request) -> None:
        """It is finished."""
        older, request.older = request.older, None
        if self._newest[request.identity] is not request:
            newer = next(r for r in self.of(request.identity) if r.older is request)
            newer.older = older
        elif older is not None:
            self._newest[request.identity] = older
        else:
            del self._newest[request.identity]


def payload_of(first: Request | Remembered) -> bytes:
    """The fingerprint of what the first request of a key asked."""
    return first.ask.payload if isinstance(first, Request) else first.payload


def conflict(request: Request) -> str:
    """The sentence about a request whose key came before with another payload."""
    return (
        f"idempotency_key {request.ask.key!r} came before with another payload within "
        f"DIA_DEDUPE_TTL_S"
    )


def cancel_outcome(cancelled: bool, now_ms: int) -> Outcome:
    """The outcome of a request that cancels another."""
    return Outcome("completed", {"cancelled": cancelled}, "", "", now_ms, now_ms)
