"""Rows of one table that wait for an insert into one shard, which costs as much as thousands of
rows. One urgent job takes all along."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from streams.core.rows.built_in_tables import Rows
from streams.core.tracing.tracer import Origins

Answer = Callable[[Sequence[int], str], None]
"""Called with the indexes of refused rows and a reason, once the shard holds all others."""


@dataclass(slots=True, eq=False)
class Job:
    """``owner`` identifies them to `Delivery.forget`."""

    owner: object
    rows: Rows
    answer: Answer
    origins: Origins = ()
    wait_s: float = 0.0
    """longest wait for other rows of their table"""


class WaitingRows:
    """Jobs in order of arrival."""

    def __init__(self) -> None:
        self._jobs: deque[tuple[float, Job]] = deque()
        self.rows = 0
        self.due_s = math.inf
        """monotonic; inf: no job is due"""

    def __bool__(self) -> bool:
        return bool(self._jobs)

    def add(self, job: Job, now_s: float) -> None:
        due_s = now_s + job.wait_s
        self._jobs.append((due_s, job))
        self.rows += len(job.rows)
        self.due_s = min(self.due_s, due_s)

    def take(self, rows_max: int) -> list[Job]:
        """The oldest: at least one job, more up to ``rows_max`` rows."""
        taken = [self._jobs.popleft()[1]]
        rows = len(taken[0].rows)
        while self._jobs and rows + len(self._jobs[0][1].rows) <= rows_max:
            taken.append(self._jobs.popleft()[1])
            rows += len(taken[-1].rows)
        self._left()
        return taken

    def caught_up(self, owner: object, now_s: float) -> None:
        """Make the jobs of ``owner`` due at monotonic time ``now_s``."""
        self._jobs = deque(
            (min(due_s, now_s) if job.owner is owner else due_s, job) for due_s, job in self._jobs
        )
        self._left()

    def forget(self, owner: object) -> int:
        """Returns their number of rows."""
        before = self.rows
        self._jobs = deque(waiting for waiting in self._jobs if waiting[1].owner is not owner)
        self._left()
        return before - self.rows

    def _left(self) -> None:
        self.rows = sum(len(job.rows) for _, job in self._jobs)
        self.due_s = min((due_s for due_s, _ in self._jobs), default=math.inf)
