"""Selects the next job: by lane, then by tenant in turn (docs/protocols/jobs.md).

A tenant's jobs start in order of arrival, except that a queue whose first job may not start
(concurrency, rate, failing dependency) holds back only its own jobs. A tenant has at most
`QUEUES_MAX` queues in a lane; further ones share one.

While every queue may start, a job with k jobs of its tenant before it, in a lane of T tenants,
starts within (k + 1) T starts of the lane (tests/properties/test_fair_queue_laws.py).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, Generic, Literal, NamedTuple, TypeAlias, TypeVar

J = TypeVar("J")
Lane: TypeAlias = Literal["high", "normal"]
LANES: tuple[Lane, ...] = ("high", "normal")

QUEUES_MAX: Final = 64
READY: Final = "\1"
"""queue of a tenant's ready jobs: separate, since jobs that wait in other queues may need what
these hold"""
_SHARED: Final = "\0"


class _Waiting(NamedTuple, Generic[J]):
    order: int
    job: J


_Tenant: TypeAlias = dict[str, deque[_Waiting[J]]]


class FairQueue(Generic[J]):
    """Not bounded itself."""

    def __init__(self, normal_share: float, left: Callable[[J, int], bool]) -> None:
        """``normal_share``: between 0 and 1, exclusive. ``left(job, place)``: the job is no longer
        at its place and is skipped; `dropped` counts it out."""
        assert 0 < normal_share < 1
        self._normal_share = normal_share
        self._left = left
        self._credit = 0.0
        self._order = 0
        self._lanes: dict[Lane, dict[str, _Tenant[J]]] = {lane: {} for lane in LANES}
        self._lengths: dict[Lane, int] = dict.fromkeys(LANES, 0)

    def __len__(self) -> int:
        return sum(self._lengths.values())

    def length(self, lane: Lane) -> int:
        return self._lengths[lane]

    def push(self, lane: Lane, tenant: str, queue: str, job: J, order: int = -1) -> int:
        """Queue a job behind those of its tenant, or at its former place ``order``; its place."""
        queues = self._lanes[lane].setdefault(tenant, {})
        if queue not in queues and queue != READY and len(queues) >= QUEUES_MAX:
            queue = _SHARED
        waiting = queues.setdefault(queue, deque())
        self._lengths[lane] += 1
        if order < 0:
            self._order += 1
            waiting.append(_Waiting(self._order, job))
            return self._order
        place = 0
        while place < len(waiting) and waiting[place].order < order:
            place += 1
        waiting.insert(place, _Waiting(order, job))
        return order

    def pop(self, may_start: Callable[[J], bool]) -> J | None:
        """The job that starts now, or None. ``may_start`` is asked for the first job of each
        queue."""
        lengths = self._lengths
        high = self._next("high", may_start) if lengths["high"] else None
        normal = self._next("normal", may_start) if lengths["normal"] else None
        if high is None or normal is None:
            chosen: Lane = "high" if normal is None else "normal"
            found = high or normal
        else:
            self._credit += self._normal_share
            turn = self._credit >= 1
            self._credit -= turn
            chosen, found = ("normal", normal) if turn else ("high", high)
        if found is None:
            return None
        tenant, queue = found
        # The tenant moves to the end of the turn.
        lane = self._lanes[chosen]
        lane[tenant] = lane.pop(tenant)
        return self._take(chosen, tenant, queue)

    def pop_ahead(self, lane: Lane, may_start: Callable[[J], bool]) -> J | None:
        """Take a job that may start without using a turn."""
        found = self._next(lane, may_start) if self._lengths[lane] else None
        return self._take(lane, *found) if found is not None else None

    def dropped(self, lane: Lane) -> None:
        """Count out a job that left its place in the lane."""
        self._count_out(lane)

    def remove(self, unwanted: Callable[[J], bool]) -> list[J]:
        removed: list[J] = []
        for lane in LANES:
            for tenant, queues in list(self._lanes[lane].items()):
                for queue, waiting in list(queues.items()):
                    gone = [item for item in waiting if unwanted(item.job)]
                    if not gone:
                        continue
                    kept = deque(item for item in waiting if not unwanted(item.job))
                    removed += [item.job for item in gone]
                    self._lengths[lane] -= sum(
                        not self._left(item.job, item.order) for item in gone
                    )
                    queues[queue] = kept
                    self._forget_empty(lane, tenant, queue)
        return removed

    def _next(self, lane: Lane, may_start: Callable[[J], bool]) -> tuple[str, str] | None:
        found: tuple[str, str] | None = None
        empty: list[tuple[str, str]] = []
        for tenant, queues in self._lanes[lane].items():
            first: str | None = None
            for queue, waiting in queues.items():
                while waiting:
                    order, job = waiting[0]
                    if not self._left(job, order):
                        break
                    waiting.popleft()
                else:
                    empty.append((tenant, queue))
                    continue
                older = first is None or order < queues[first][0].order
                if older and may_start(job):
                    first = queue
            if first is not None:
                found = tenant, first
                break
        for tenant, queue in empty:
            self._forget_empty(lane, tenant, queue)
        return found

    def _take(self, lane: Lane, tenant: str, queue: str) -> J:
        job = self._lanes[lane][tenant][queue].popleft().job
        self._forget_empty(lane, tenant, queue)
        self._count_out(lane)
        return job

    def _count_out(self, lane: Lane) -> None:
        """A lane without waiting jobs holds only places that were left."""
        self._lengths[lane] -= 1
        if not self._lengths[lane]:
            self._lanes[lane].clear()

    def _forget_empty(self, lane: Lane, tenant: str, queue: str) -> None:
        queues = self._lanes[lane][tenant]
        if not queues[queue]:
            del queues[queue]
        if not queues:
            del self._lanes[lane][tenant]
