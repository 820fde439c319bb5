"""Finds the first request of a key, which runs or whose outcome is remembered.

A request is judged by the last first request of its key appended before it: it repeats that one,
unless appended too late (streams/engine/state/outcomes.py); then it is a first request itself. If a
first request is given up, the oldest repeat that waited for it takes its place.

So a request waits for a running one on which its verdict depends: its first, or one that is too old
to be its first but has a waiting repeat that is not. If the running one is given up, that repeat
runs and the request repeats it; otherwise the request is judged again. Without the wait, two runs
of a key could be committed within its TTL.
"""

from __future__ import annotations

from streams.engine.runtime.jobs.requests import Request, RunningRequests
from streams.engine.state.outcomes import Outcomes, Remembered


class FirstRequests:
    def __init__(self, outcomes: Outcomes) -> None:
        self.running = RunningRequests()
        self._outcomes = outcomes

    def of(self, request: Request) -> Request | Remembered | None:
        """The first request that ``request`` repeats; None if it is itself a first request."""
        first: Request | Remembered | None = self.running.before(request)
        known = self._outcomes.before(request.identity, request.offset)
        if first is None or (known is not None and known.offset > first.offset):
            first = known
        if first is None:
            return None
        return first if self.repeats(request, first) else None

    def repeats(self, request: Request, first: Request | Remembered) -> bool:
        """Whether ``request`` was appended early enough to repeat ``first``."""
        return self._outcomes.repeats(request.append_ms, request.horizon_ms, first)

    def awaited(self, request: Request, first: Request | Remembered | None) -> Request | None:
        """The running request that ``request`` must wait for; ``first`` is its first.

        None if there is none, or if its running first has another payload: that is a conflict.
        """
        if isinstance(first, Request):
            return first if first.ask.payload == request.ask.payload else None
        running = self.running.before(request) if first is None else None
        # The youngest first: for older ones the request is more likely too late.
        waiting = reversed(running.repeats or ()) if running is not None else ()
        return running if any(self.repeats(request, other) for other in waiting) else None
