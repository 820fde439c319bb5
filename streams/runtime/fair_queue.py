"""Who is next: high priority before the rest, tenants in turn, and nobody starves.

Two lanes. While both have a job that may start, the normal lane gets ``normal_share`` of the
starts and the high lane the others; alone, either gets all. Inside a lane tenants take turns,
one job each, and a tenant's jobs start in the order they came, except that a queue which may
start nothing now (its concurrency or its rate is used up) holds back only its own jobs.

So, while every queue may start: a job with k jobs of its tenant before it, in a lane of T
tenants, starts within (k + 1) T starts of its lane (tests/properties/test_fair_queue_laws.py).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, Literal, NamedTuple, TypeAlias, TypeVar

J = TypeVar("J")
Lane: TypeAlias = Literal["high", "normal"]
LANES: tuple[Lane, ...] = ("high", "normal")


class _Waiting(NamedTuple, Generic[J]):
    order: int
    job: J


_Tenant: TypeAlias = dict[str, deque[_Waiting[J]]]
"""A tenant's jobs by the name of their queue."""


class FairQueue(Generic[J]):
    """See the module docstring. It is not bounded itself: what fills it is."""

    def __init__(self, normal_share: float) -> None:
        """``normal_share`` lies between 0 and 1, both excluded."""
        assert 0 < normal_share < 1
        self._normal_share = normal_share
        self._credit = 0.0
        self._order = 0
        self._lanes: dict[Lane, dict[str, _Tenant[J]]] = {lane: {} for lane in LANES}
        self._lengths: dict[Lane, int] = dict.fromkeys(LANES, 0)

    def __len__(self) -> int:
        return sum(self._lengths.values())

    def length(self, lane: Lane) -> int:
        """Jobs waiting in one lane."""
        return self._lengths[lane]

    def push(self, lane: Lane, tenant: str, queue: str, job: J) -> None:
        """A job waits from now on, behind those of its tenant."""
        waiting = self._lanes[lane].setdefault(tenant, {}).setdefault(queue, deque())
        waiting.append(_Waiting(self._order, job))
        self._order += 1
        self._lengths[lane] += 1

    def pop(self, may_start: Callable[[str], bool]) -> J | None:
        """The job that starts now; None when none may. ``may_start`` is asked by queue name."""
        if not any(self._lengths.values()):
            return None
        high, normal = (self._next(lane, may_start) for lane in LANES)
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
        return self._take(chosen, *found)

    def remove(self, unwanted: Callable[[J], bool]) -> list[J]:
        """Take out every job that is ``unwanted``."""
        removed: list[J] = []
        for lane in LANES:
            for tenant, queues in list(self._lanes[lane].items()):
                for queue, waiting in list(queues.items()):
                    kept = deque(item for item in waiting if not unwanted(item.job))
                    removed += [item.job for item in waiting if unwanted(item.job)]
                    self._lengths[lane] -= len(waiting) - len(kept)
                    self._keep(lane, tenant, queue, kept)
        return removed

    def _next(self, lane: Lane, may_start: Callable[[str], bool]) -> tuple[str, str] | None:
        """Tenant and queue of the lane's next job: the first tenant in turn that has one."""
        for tenant, queues in self._lanes[lane].items():
            first: str | None = None
            for queue, waiting in queues.items():
                older = first is None or waiting[0].order < queues[first][0].order
                if older and may_start(queue):
                    first = queue
            if first is not None:
                return tenant, first
        return None

    def _take(self, lane: Lane, tenant: str, queue: str) -> J:
        queues = self._lanes[lane].pop(tenant)
        # Put back at the end: the others come first now.
        self._lanes[lane][tenant] = queues
        job = queues[queue].popleft().job
        self._lengths[lane] -= 1
        self._keep(lane, tenant, queue, queues[queue])
        return job

    def _keep(self, lane: Lane, tenant: str, queue: str, waiting: deque[_Waiting[J]]) -> None:
        """Nothing of tenants and queues that are empty stays in memory."""
        queues = self._lanes[lane][tenant]
        queues[queue] = waiting
        if not waiting:
            del queues[queue]
        if not queues:
            del self._lanes[lane][tenant]
