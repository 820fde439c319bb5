"""Rows that wait for an insert: those of one table for one shard.

An insert costs a shard about as much as thousands of rows, so rows whose owner is in no hurry wait for
others of their table until the insert is full. One owner that is in a hurry takes all of them along.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from streams.core.rows.built_in_tables import Rows
from streams.core.tracing.tracer import Origins

Answer = Callable[[Sequence[int], str], None]
"""Called once the shard holds every row but those at the given indexes, refused for a reason."""


@dataclass(slots=True, eq=False)
class Job:
    """Rows of one shard and the callback of their answer. ``owner`` is what `Delivery.forget` is called with."""

    owner: object
    rows: Rows
    answer: Answer
    origins: Origins = ()
    wait_s: float = 0.0
    """how long the rows may wait for others of their table"""


class WaitingRows:
    """Jobs of one table for one shard, in the order in which they came."""

    def __init__(self) -> None:
        self._jobs: deque[tuple[float, Job]] = deque()
        self.rows = 0
        self.due_s = math.inf
        """monotonic time at which some job has waited long enough; inf: there is none"""

    def __bool__(self) -> bool:
        return bool(self._jobs)

    def add(self, job: Job, now_s: float) -> None:
        """``job`` came at the monotonic time ``now_s``."""
        due_s = now_s + job.wait_s
        self._jobs.append((due_s, job))
        self.rows += len(job.rows)
        self.due_s = min(self.due_s, due_s)

    def take(self, rows_max: int) -> list[Job]:
        """The oldest jobs: at least one, further ones up to ``rows_max`` rows."""
        taken = [self._jobs.popleft()[1]]
        rows = len(taken[0].rows)
        while self._jobs and rows + len(self._jobs[0][1].rows) <= rows_max:
            taken.append(self._jobs.popleft()[1])
            rows += len(taken[-1].rows)
        self._left()
        return taken

    def caught_up(self, owner: object, now_s: float) -> None:
        """The jobs of ``owner`` have waited enough at the monotonic time ``now_s``."""
        self._jobs = deque(
            (min(due_s, now_s) if job.owner is owner else due_s, job) for due_s, job in self._jobs
        )
        self._left()

    def forget(self, owner: object) -> int:
        """Drop the jobs of ``owner``. Returns how many rows they had."""
        before = self.rows
        self._jobs = deque(waiting for waiting in self._jobs if waiting[1].owner is not owner)
        self._left()
        return before - self.rows

    def _left(self) -> None:
        self.rows = sum(len(job.rows) for _, job in self._jobs)
        self.due_s = min((due_s for due_s, _ in self._jobs), default=math.inf)
