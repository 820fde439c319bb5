"""The first request of each key: it runs, or its outcome is remembered.

A request is judged by the last first request of its key that was appended before it. It repeats
that one unless it was appended too late (streams/engine/state/outcomes.py); then it is a first request itself.
A request that is given up is no first: the oldest repeat that waited for it takes its place.

So a request waits for a running one on which its verdict depends. That is its first; or one that
was appended too early to be its first, but for which a repeat waits that was not. If that running
one is given up, the repeat runs, and the request repeats it. If it ends with an outcome, the
request is judged again. A request that did not wait would run at once, and then two runs of one
key could be committed within its time.
"""

from __future__ import annotations

from streams.engine.runtime.jobs.requests import Request, RunningRequests
from streams.engine.state.outcomes import Outcomes, Remembered


class FirstRequests:
    """Of one partition, over the `Outcomes` of its state."""

    def __init__(self, outcomes: Outcomes) -> None:
        self.running = RunningRequests()
        self._outcomes = outcomes

    def of(self, request: Request) -> Request | Remembered | None:
        """The first request that ``request`` repeats; None when it is a first request itself."""
        first: Request | Remembered | None = self.running.before(request)
        known = self._outcomes.before(request.identity, request.offset)
        if first is None or (known is not None and known.offset > first.offset):
            first = known
        if first is None:
            return None
        return first if self.repeats(request, first) else None

    def repeats(self, request: Request, first: Request | Remembered) -> bool:
        """Whether ``request`` was appended early enough to repeat ``first`` of its key."""
        return self._outcomes.repeats(request.append_ms, request.horizon_ms, first)

    def awaited(self, request: Request, first: Request | Remembered | None) -> Request | None:
        """The running request that ``request``, whose first is ``first``, has to wait for.

        None if there is none, and for a conflict: a request with another payload than its running
        first has its verdict.
        """
        if isinstance(first, Request):
            return first if first.ask.payload == request.ask.payload else None
        running = self.running.before(request) if first is None else None
        # The youngest first: the oldest are the ones that it comes too late for.
        waiting = reversed(running.repeats or ()) if running is not None else ()
        return running if any(self.repeats(request, other) for other in waiting) else None
